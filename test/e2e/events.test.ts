import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("events, lists and pruning", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  let since = "";
  let until = "";
  before(async () => {
    engine = await startEngine();
    since = String(Date.now() / 1000);
    const label = ["--label", "tier=front", "--label", "odd=a=b c"];
    await engine.ok("run", "-d", "--name", "told", ...label, "-v", "kept:/data", "busybox", "sleep", "600");
    await engine.ok("exec", "told", "echo", "two  words");
    await engine.ok("tag", "busybox", "other:1");
    await engine.ok("rm", "-f", "told");
    await engine.ok("rmi", "other:1");
    until = String(Date.now() / 1000 + 0.01);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const FILTERS: string[][] = [
    [],
    ["type=container"],
    ["type=volume", "type=image"],
    ["container=told"],
    ["container=tol"],
    ["event=die"],
    ["event=exec_create", "event=destroy"],
    ["image=busybox"],
    ["image=busybox:latest"],
    ["image=other:1"],
    ["label=tier"],
    ["label=tier=front", "event=start"],
    ["label=tier=back"],
    ["volume=kept"],
    ["network=bridge"],
    ["scope=local", "event=kill"],
    ["daemon=x"],
    ["node=x"],
  ];
  for (const filters of FILTERS) {
    test(`show the same through docker and gantry: ${filters.join(" ") || "all"}`, async () => {
      const args = ["events", "--since", since, "--until", until, ...filters.flatMap((filter) => ["--filter", filter])];
      for (const format of [
        [],
        ["--format", "json"],
        ["--format", "{{.Type}} {{.Action}} {{.Actor.ID}} {{.TimeNano}} {{json .TimeNano}}"],
        ["--format", "{{json .}}"],
      ]) {
        const [docker, gantry] = await Promise.all([
          engine.docker(...args, ...format),
          engine.gantry(...args, ...format),
        ]);
        assert.equal(gantry.code, docker.code, gantry.stderr);
        assert.equal(gantry.stdout, docker.stdout);
        const expectsNone = ["label=tier=back", "daemon=x", "node=x", "image=busybox:latest"].includes(
          filters[0] ?? "",
        );
        assert.equal(docker.stdout === "", expectsNone, "it shows nothing, or what it should not");
      }
    });
  }

  test("each nanosecond is the wire's, in every form, and bounds what is shown", async () => {
    const { text } = await engine.request("GET", `/events?since=${since}&until=${until}`);
    const times = [...text.matchAll(/"timeNano":(\d{19})}/g)].map(([, digits]) => digits!);
    assert.ok(times.length > 8, text);
    const shown = await engine.gantry("events", "--since", since, "--until", until);
    assert.deepEqual(
      shown.stdout
        .trim()
        .split("\n")
        .map((line) => /\.(\d{9})/.exec(line)?.[1]),
      times.map((digits) => digits.slice(10)),
    );
    const stamp = (digits: string) => `${digits.slice(0, 10)}.${digits.slice(10)}`;
    const part = await engine.gantry(
      "events",
      "--since",
      stamp(times[2]!),
      "--until",
      stamp(times[5]!),
      "--format",
      "{{.TimeNano}}",
    );
    assert.deepEqual(part.stdout.trim().split("\n"), times.slice(2, 6));
    const past = String(BigInt(times[5]!) + 1n);
    const rest = await engine.request("GET", `/events?since=${stamp(past)}&until=${until}`);
    assert.equal(rest.text.trim().split("\n").length, times.length - 6);
  });

  function objects(text: string): unknown[] {
    const lines = text.split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as unknown);
  }

  const get = async (path: string) => {
    const { status, json } = await engine.request("GET", path);
    return [status, json?.message as string | undefined];
  };
  const asked = (filters: unknown) => encodeURIComponent(JSON.stringify(filters));

  test("a time that ends before it begins and filters that are none are refused", async () => {
    assert.deepEqual(await get("/events?since=2&until=1"), [400, "`since` time (2) cannot be after `until` time (1)"]);
    assert.equal((await get("/events?since=x"))[0], 400);
    assert.deepEqual(await get(`/events?filters=${asked({ bogus: ["x"] })}`), [400, "invalid filter 'bogus'"]);
    const table: [object, RegExp | undefined][] = [
      [{ bogus: ["1"] }, /^invalid filter 'bogus'$/],
      [{ health: ["x"] }, /^Unrecognised filter value for health: x$/],
      [{ status: ["x"] }, /^invalid filter 'status=x'$/],
      [{ "is-task": ["x"] }, /^invalid filter 'is-task=\[x\]'$/],
      [{ exited: ["x"] }, /exited/],
      [{ before: ["nope"] }, /^No such container: nope$/],
      [{ publish: ["x"] }, /x/],
      [{ isolation: ["x"] }, undefined],
      [{ ancestor: ["nope"] }, undefined],
      [{ network: ["nope"] }, undefined],
      [{ name: ["["] }, undefined],
      [{ id: ["("] }, undefined],
    ];
    for (const [filters, message] of table) {
      const [status, text] = await get(`/containers/json?all=1&filters=${asked(filters)}`);
      if (message === undefined) assert.equal(status, 200, JSON.stringify(filters));
      else assert.match(String(text), message);
    }
  });

  test("pruning takes what its filters name and says what it did in dockerd's form", async () => {
    const prune = async (what: string, filters: object) =>
      (await engine.request("POST", `/${what}/prune?filters=${asked(filters)}`)).json;
    await engine.ok("create", "--name", "old-a", "--label", "keep=yes", "busybox", "true");
    const id = await engine.ok("create", "--name", "old-b", "--label", "keep=no", "busybox", "true");
    assert.equal((await prune("containers", { bogus: ["1"] })).message, "invalid filter 'bogus'");
    assert.match(
      (await prune("containers", { until: ["x"] })).message,
      /^failed to parse value as time or duration: "x"/,
    );
    assert.equal((await prune("containers", { until: ["1h", "2h"] })).message, "more than one until filter specified");
    assert.deepEqual(await prune("containers", { until: ["1h"] }), { ContainersDeleted: null, SpaceReclaimed: 0 });
    assert.deepEqual((await prune("containers", { "label!": ["keep=yes"] })).ContainersDeleted, [id]);
    assert.deepEqual((await prune("containers", { label: ["nope"] })).ContainersDeleted, null);
    assert.equal((await prune("containers", { until: ["-5m"] })).ContainersDeleted.length, 1);
    assert.match((await prune("images", { dangling: ["x"] })).message, /^invalid filter 'dangling=\[x\]'$/);
    assert.deepEqual((await prune("images", { label: ["nope"] })).ImagesDeleted, null);
    const { text } = await engine.request(
      "GET",
      `/events?since=1&until=${Date.now() / 1000 + 0.01}&filters=${asked({ event: ["prune"], type: ["container"] })}`,
    );
    assert.deepEqual(objects(text).at(-1), {
      ...(objects(text).at(-1) as object),
      Type: "container",
      Action: "prune",
      Actor: { ID: "", Attributes: { reclaimed: "0" } },
    });
  });
});

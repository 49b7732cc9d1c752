import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type TarEntry, tarOf } from "../archive.ts";
import { type Answer, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

const TAR = { "Content-Type": "application/x-tar" };

describe("copies into and out of a hostile container", () => {
  let engine: TestEngine;
  let canary: string;
  before(async () => {
    engine = await startEngine();
    canary = join(engine.root, "canary");
    mkdirSync(join(canary, "sub"), { recursive: true });
    for (const name of ["f", "sub/f"]) writeFileSync(join(canary, name), "CANARY");
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const put = (id: string, path: string, entries: readonly TarEntry[] | Uint8Array) =>
    engine.request(
      "PUT",
      `/containers/${id}/archive?path=${encodeURIComponent(path)}`,
      entries instanceof Uint8Array ? entries : tarOf(entries),
      TAR,
    );
  const get = (id: string, path: string) =>
    engine.request("GET", `/containers/${id}/archive?path=${encodeURIComponent(path)}`);

  async function run(name: string, script: string, HostConfig: object = {}): Promise<string> {
    const body = { Image: "busybox", Cmd: ["sh", "-c", script], HostConfig };
    const made = await engine.request("POST", `/containers/create?name=${name}`, body);
    assert.equal(made.status, 201, made.text);
    const started = await engine.request("POST", `/containers/${made.json.Id}/start`);
    assert.equal(started.status, 204, started.text);
    return made.json.Id;
  }

  const remove = async (id: string) =>
    assert.equal((await engine.request("DELETE", `/containers/${id}?force=1&v=1`)).status, 204);

  /** Nothing of the host was read or written, and no view is left. */
  async function untouched(): Promise<void> {
    assert.deepEqual(readdirSync(canary, { recursive: true }).sort(), ["f", "sub", "sub/f"]);
    for (const name of ["f", "sub/f"]) assert.equal(readFileSync(join(canary, name), "utf8"), "CANARY");
    const deadline = Date.now() + 5_000;
    const views = () => mountsBelow(join(engine.execRoot, "views"));
    while (views().length > 0 && Date.now() < deadline) await delay(20);
    assert.deepEqual(views(), []);
  }

  test("that swaps its folders for links all the while never lead outside, and fail only with a word on why", async () => {
    // Each rests now and then in a state in which all is well, or a busy machine never meets one.
    const id = await run(
      "swaps",
      `mkdir -p /w/real/sub && cd /w && echo inside > real/f && echo inside > real/sub/f && ln -s real d
      (while :; do ln -sfn ${canary} d; ln -sfn real d; ln -sfn ../../../../..${canary} d; ln -sfn /w/real d
        ln -sfn /proc/1/root${canary} d; ln -sfn real d; [ $((n = (n + 1) % 8)) != 0 ] || sleep 0.01; done) &
      (cd /w/real; while :; do mv sub was; ln -s ${canary}/sub sub; rm sub; mkdir sub; echo inside > sub/f; rm -r sub; mv was sub; [ $((n = (n + 1) % 4)) != 0 ] || sleep 0.01; done) &
      (cd /w/real; while :; do mknod f2 c 511 65536; mv f2 f; echo inside > f2; mv f2 f; [ $((n = (n + 1) % 8)) != 0 ] || sleep 0.01; done) &
      wait`,
      { Binds: [`${canary}:/ro:ro`] },
    );
    const kinds: readonly ((n: number) => Promise<Answer>)[] = [
      (n) =>
        put(id, "/w/d", [
          { name: `n${n}`, body: "x" },
          { name: `sub/n${n}`, body: "y" },
        ]),
      (n) =>
        put(id, "/w", [
          { name: `d/sub/q${n}`, body: "x" },
          { name: `d/l${n}`, type: "hardlink", link: "d/f" },
        ]),
      () => put(id, "/w", [{ name: "d/sub", type: "directory", mode: 0o4777 }]),
      () => get(id, "/w/d/"),
      () => get(id, "/w/d/f"),
      () => get(id, "/w/real"),
      () => engine.request("HEAD", `/containers/${id}/archive?path=/w/d/sub`),
      () => engine.request("GET", `/containers/${id}/changes`),
      () => engine.request("GET", `/containers/${id}/json?size=1`),
    ];
    const seen = new Map<string, number>();
    const allWentWell = () => [...kinds.keys()].every((kind) => seen.has(`${kind}: 200`));
    let at = 0;
    const worker = async () => {
      for (let n = at++; n < 450 || (n < 4500 && !allWentWell()); n = at++) {
        const answer = await kinds[n % kinds.length]!(n);
        assert.ok(!answer.text.includes("CANARY"), "it shows a file of the host");
        assert.notEqual(answer.status, 500, `${n % kinds.length}: ${answer.text}`);
        if (answer.status >= 400 && answer.text !== "") assert.ok(answer.json.message.length > 0);
        const key = `${n % kinds.length}: ${answer.status}`;
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: 6 }, worker));
    // Not all of them came to nothing: the race was run.
    for (const kind of kinds.keys()) assert.ok(seen.has(`${kind}: 200`), `${kind} never went well`);
    assert.doesNotMatch(engine.log, /"level":"error"/);
    await remove(id);
    await untouched();
  });

  test("with folders nested deeper than any path still tell their size, and say of the rest why it can't be", async () => {
    const script = `p=$(seq 1 1000 | sed 's/.*/a/' | tr '\\n' /)
      for i in 1 2 3 4 5 6 7 8 9 10 11 12; do mkdir -p $p && cd -P $p; done; echo deep > f`;
    const id = await run("deep", script);
    assert.equal((await engine.request("POST", `/containers/${id}/wait`)).json.StatusCode, 0);
    assert.equal((await engine.request("GET", "/containers/json?all=1&size=1")).status, 200);
    assert.equal((await engine.request("GET", "/system/df")).status, 200);
    for (const [method, path] of [
      ["GET", `/containers/${id}/changes`],
      ["POST", `/commit?container=${id}&repo=deep`],
    ] as const) {
      const answer = await engine.request(method, path);
      assert.equal(answer.status, 409, answer.text);
      assert.match(answer.json.message, /a longer path than any can be$/);
    }
    // What has begun can only break off.
    await assert.rejects(engine.request("GET", `/containers/${id}/export`), /aborted/);
    await assert.rejects(get(id, "/a"), /aborted/);
    assert.doesNotMatch(engine.log, /"level":"error"/);
    await remove(id);
    await untouched();
  });

  test("through what leads to other processes' files, stay in the container's own", async () => {
    const id = await run("roots", "sleep 600", { PidMode: "host" });
    for (const path of [`/proc/1/root${canary}/f`, `/proc/self/root${canary}/f`, `/proc/self/cwd/../..${canary}/f`]) {
      assert.equal((await get(id, path)).status, 404, path);
      const made = await put(id, path.slice(0, -2), [{ name: "n", body: "x" }]);
      assert.equal(made.status, 404, `${path}: ${made.text}`);
    }
    await remove(id);
    await untouched();
  });

  const refused: readonly (readonly [string, readonly TarEntry[], RegExp])[] = [
    ["a name that climbs out", [{ name: "../x", body: "x" }], /is outside of/],
    ["a hard link that climbs out", [{ name: "l", type: "hardlink", link: "../../x" }], /is outside of/],
    [
      "a whiteout of the kernel's",
      [{ name: "w", type: "character", device: [0, 0] }],
      /invalid tar header.*operation not permitted/,
    ],
    ["a hard link to a folder", [{ name: "l", type: "hardlink", link: "." }], /invalid tar header/],
    [
      "a member beneath a link to itself",
      [
        { name: "a", type: "symlink", link: "a" },
        { name: "a/b", body: "x" },
      ],
      /too many links|not a directory/,
    ],
    ["another's volume", [{ name: "vol", body: "x" }], /something is mounted there/],
  ];
  for (const [name, entries, why] of refused) {
    test(`${name} is refused, and the container is as it was`, async () => {
      const id = await run("refuses", "mkdir /t; sleep 600", { Binds: [`${canary}:/t/vol`] });
      const answer = await put(id, "/t", entries);
      assert.equal(answer.status >= 400 && answer.status < 500, true, answer.text);
      assert.match(answer.json.message, why);
      await remove(id);
      await untouched();
    });
  }
});

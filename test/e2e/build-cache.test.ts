// What builds leave for the next ones: their cache, its pruning, their history; through the stock CLI and the API.
import assert from "node:assert/strict";
import { after as atEnd, before, test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { tarOf } from "../archive.ts";
import { processesWith } from "../builds.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

let engine: TestEngine;
before(async () => {
  engine = await startEngine();
});
atEnd(() => engine[Symbol.asyncDispose]());

interface Line {
  readonly stream?: string;
  readonly error?: string;
  readonly aux?: { readonly ID: string };
}

/** Sends a Dockerfile with files beside it; resolves with what was told. */
async function build(dockerfile: string, files: Readonly<Record<string, string>> = {}, query = ""): Promise<Built> {
  const entries = Object.entries({ Dockerfile: dockerfile, ...files });
  const body = tarOf(entries.map(([name, text]) => ({ name, body: text })));
  const answer = await engine.request("POST", `/build?${query}`, body, { "Content-Type": "application/x-tar" });
  const lines = answer.text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as Line);
  return {
    text: lines.map(({ stream = "" }) => stream).join(""),
    error: lines.findLast(({ error }) => error !== undefined)?.error,
    id: lines.find(({ aux }) => aux !== undefined)?.aux?.ID,
  };
}

interface Built {
  readonly text: string;
  readonly error: string | undefined;
  readonly id: string | undefined;
}

interface HistoryRow {
  readonly Id: string;
  readonly CompletedAt: string | null;
  readonly Error: string;
  readonly Steps: number;
  readonly CachedSteps: number;
}

async function history(): Promise<readonly HistoryRow[]> {
  return (await engine.request("GET", "/gantry/build/history")).json;
}

async function until<T>(what: string, ask: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; ) {
    const found = await ask();
    if (found !== undefined) return found;
    await after(20);
  }
  throw new Error(`it never came to pass: ${what}`);
}

/** Ids of what is in the cache. */
async function cached(): Promise<readonly string[]> {
  const { json } = await engine.request("GET", "/system/df?type=build-cache");
  return json.BuildCache.map(({ ID }: { ID: string }) => ID);
}

/** In no other test. */
const SLEEP = "sleep 1753";

function sleeping(): boolean {
  return processesWith(...SLEEP.split(" ")).length > 0;
}

const APP = "FROM busybox\nRUN echo once >/once; date +%s%N >/when\nCOPY file /file\nRUN cp /file /copied\n";

test("a build does again only what follows a change", async () => {
  const first = await build(APP, { file: "1" });
  assert.equal(first.error, undefined);
  assert.equal(first.text.includes("Using cache"), false);
  const second = await build(APP, { file: "1", unused: "x" });
  assert.equal(second.id, first.id);
  assert.equal(second.text.match(/Using cache/g)?.length, 3);
  const third = await build(APP, { file: "2" });
  assert.equal(third.text.match(/Using cache/g)?.length, 1);
  const [, , { Steps, CachedSteps } = { Steps: 0, CachedSteps: 0 }] = (await history()).toReversed();
  assert.deepEqual([Steps, CachedSteps], [3, 1]);
  const anew = await build(APP, { file: "1" }, "nocache=1");
  assert.equal(anew.text.includes("Using cache"), false);
  assert.notEqual(anew.id, first.id);
});

test("two builds at once run the same step once", async () => {
  const dockerfile = "FROM busybox\nRUN sleep 1; cat /proc/sys/kernel/random/uuid >/uuid\n";
  const [one, other] = await Promise.all([build(dockerfile), build(dockerfile)]);
  assert.equal(one.error ?? other.error, undefined);
  const layersOf = async (id = "") => (await engine.request("GET", `/images/${id}/json`)).json.RootFS.Layers;
  assert.deepEqual(await layersOf(one.id), await layersOf(other.id));
});

test("what is pruned is done again; images keep what they have of it", { skip: NO_DOCKER }, async () => {
  await build(APP, { file: "pruned" }, "t=kept");
  await build(
    "FROM busybox AS stage\nRUN head -c 100000 /dev/zero >/big\nFROM busybox\nCOPY --from=stage /big /\n",
    {},
    "t=kept2",
  );
  const events = engine.request("GET", `/events?since=1&until=${Date.now() / 1000 + 5}&filters={"type":["builder"]}`);
  const listed = await engine.ok("system", "df", "-v", "--format", "{{json .BuildCache}}");
  assert.match(listed, /RUN head -c 100000/);
  const before = await cached();
  const pruned = await engine.ok("builder", "prune", "-f");
  // With the files of archives that were sent.
  assert.match(pruned, /Total reclaimed space: 1[0-4]\d(?:\.\d+)?kB/);
  const left = await cached();
  assert.ok(left.length > 0 && left.length < before.length, "what images share stays");
  await engine.ok("builder", "prune", "-af");
  assert.deepEqual(await cached(), []);
  assert.match((await events).text, /"Action":"prune"/);
  assert.equal(await engine.ok("run", "--rm", "kept", "cat", "/copied"), "pruned");
  assert.equal((await build(APP, { file: "pruned" })).text.includes("Using cache"), false);
});

test("the cache outlives an image that was built of it, and its steps are found again", {
  skip: NO_DOCKER,
}, async () => {
  const first = await build(APP, { file: "outlives" }, "t=outlives");
  await engine.ok("rmi", "outlives");
  const again = await build(APP, { file: "outlives" }, "t=outlives");
  assert.equal(again.id, first.id);
  assert.equal(again.text.match(/Using cache/g)?.length, 3);
  assert.equal(await engine.ok("run", "--rm", "outlives", "cat", "/copied"), "outlives");
});

test("a prune refuses filters and sizes that are none, and takes those of Docker's clients", async () => {
  const prune = (query: string) => engine.request("POST", `/build/prune?${query}`);
  for (const [query, message] of [
    ['filters={"size":["1"]}', "invalid filter 'size'"],
    ['filters={"type":["a","b"]}', "filters expect only one value"],
    ['filters={"until":["1h"],"unused-for":["1h"]}', "conflicting filters: until and unused-for"],
    ["keep-storage=much", "keep-storage is in bytes and expects an integer, got much"],
  ] as const) {
    const answer = await prune(query);
    assert.deepEqual([answer.status, answer.json.message], [400, message]);
  }
  await build(APP, { file: "filters" });
  const kept = await cached();
  for (const query of [
    'filters={"until":["1h"]}',
    'all=1&filters={"type":["source.git.checkout"]}',
    "all=1&keep-storage=1000000000",
  ]) {
    assert.deepEqual((await prune(query)).json, { CachesDeleted: null, SpaceReclaimed: 0 });
  }
  assert.deepEqual(await cached(), kept);
});

test("the history has what was built and told, and forgets what it is asked to", async () => {
  await build("FROM busybox\nRUN echo told; false\n");
  const [{ Id, Error: error } = { Id: "", Error: "" }] = await history();
  assert.match(error, /did not complete successfully: exit code: 1/);
  const { text } = await engine.request("GET", `/gantry/build/history/${Id}/events`);
  assert.match(text, /"text":"told\\n"/);
  assert.match(text, /"name":"\[2\/2\] RUN echo told; false"/);
  const row = (await engine.request("GET", `/gantry/build/history/${Id}`)).json;
  assert.equal(row.Attributes.filename, "Dockerfile");
  assert.equal((await engine.request("DELETE", `/gantry/build/history/${Id}`)).status, 204);
  for (const path of [`/gantry/build/history/${Id}`, `/gantry/build/history/${Id}/events`]) {
    assert.equal((await engine.request("GET", path)).status, 404);
  }
});

test("a build is ended by its id, and leaves nothing that runs or is mounted", async () => {
  assert.equal((await engine.request("POST", "/build/cancel")).status, 400);
  assert.equal((await engine.request("POST", "/build/cancel?id=nothing")).status, 200);
  const building = build(`FROM busybox\nRUN ${SLEEP}\n`, {}, "buildid=tobecancelled");
  await until("the step runs", () => sleeping() || undefined);
  assert.equal((await engine.request("POST", "/build/cancel?id=tobecancelled")).status, 200);
  assert.match((await building).error ?? "", /context canceled/);
  assert.equal(sleeping(), false);
  assert.deepEqual(stepMounts(), []);
});

test("a crash in the midst of a build leaves nothing, and the next build goes on from what was whole", async () => {
  const dockerfile = `FROM busybox\nRUN date +%s%N >/first\nRUN ${SLEEP}\n`;
  const cut = build(dockerfile, {}, "buildid=crashed").catch(() => undefined);
  await until("the second step runs", () => sleeping() || undefined);
  await engine.kill();
  await cut;
  await engine.start();
  assert.equal(sleeping(), false);
  assert.deepEqual(stepMounts(), []);
  const row = (await engine.request("GET", "/gantry/build/history/crashed")).json;
  assert.equal(row.Error, "the engine ended while it was building");
  const next = await build(dockerfile.replace(SLEEP, "cat /first >/second"));
  assert.equal(next.error, undefined);
  assert.equal(next.text.match(/Using cache/g)?.length, 1);
});

function stepMounts(): readonly string[] {
  return mountsBelow(engine.root).filter((path) => path.includes("/build/"));
}

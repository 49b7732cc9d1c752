import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { isKind } from "../../base/errors.ts";
import { Logger } from "../../base/log.ts";
import { openMemory } from "../../state/memory.ts";
import type { BuildRecord, BuildRequest } from "../builder.ts";
import type { BuildEvent } from "../progress.ts";
import { describeRequest } from "./describe-request.ts";
import { History } from "./history.ts";

const base = mkdtempSync(join(tmpdir(), "gantry-history-"));
after(() => rmSync(base, { recursive: true, force: true }));
let count = 0;

function open(limits = { records: 10, ageMs: 3_600_000, output: 1000 }) {
  const folder = join(base, String(count++));
  const store = openMemory();
  const start = () => {
    const history = new History({ store, folder, log: new Logger("error", () => {}), limits: () => limits });
    history.recover();
    return history;
  };
  return { folder, start };
}

function record(id: string, createdAt = Date.now()): BuildRecord {
  const counts = { steps: 0, cachedSteps: 0, warnings: 0 };
  return { id, name: id, createdAt, target: "", platforms: [], ...counts, attributes: {}, metadata: {} };
}

const log = (text: string | Uint8Array): BuildEvent => ({
  type: "log",
  log: { vertex: "sha256:1", stream: 1, data: Buffer.from(text), timestamp: 5 },
});

async function all(events: AsyncIterable<BuildEvent>): Promise<string[]> {
  const texts: string[] = [];
  for await (const event of events) {
    texts.push(event.type === "log" ? Buffer.from(event.log.data).toString("latin1") : event.type);
  }
  return texts;
}

describe("the history of builds", () => {
  it("keeps what a build told, over a restart, bytes that are no text as well", async () => {
    const { start } = open();
    const history = start();
    const build = history.begin(record("one"));
    const vertex = { digest: "sha256:1", inputs: [], name: "RUN x", cached: false };
    await build.add({ type: "vertex", vertex });
    await build.add(log("text\n"));
    await build.add(log(Uint8Array.of(0xff, 0xfe, 0)));
    build.end({ steps: 3, metadata: { a: "b" } });
    assert.deepEqual(await all(history.events("one")), ["vertex", "text\n", "\xff\xfe\0"]);
    const again = start();
    assert.deepEqual(await all(again.events("one")), ["vertex", "text\n", "\xff\xfe\0"]);
    const [only] = again.list();
    assert.deepEqual([only!.id, only!.steps, only!.metadata, only!.error], ["one", 3, { a: "b" }, undefined]);
    assert.ok(only!.completedAt !== undefined);
  });

  it("lets a build be followed while it runs", async () => {
    const history = open().start();
    const build = history.begin(record("one"));
    await build.add(log("a"));
    const seen: string[] = [];
    const first = Promise.withResolvers<void>();
    const following = (async () => {
      for await (const event of history.events("one")) {
        if (event.type === "log") seen.push(Buffer.from(event.log.data).toString());
        first.resolve();
      }
    })();
    await first.promise;
    await build.add(log("b"));
    build.end({});
    await following;
    assert.deepEqual(seen, ["a", "b"]);
    const other = history.begin(record("two"));
    const end = new AbortController();
    const stopped = all(history.events("two", end.signal));
    end.abort();
    await assert.rejects(stopped, (error) => isKind(error, "cancelled"));
    other.end({});
  });

  it("ends what the last engine did not bring to its end, and removes files of none", async () => {
    const { folder, start } = open();
    const history = start();
    await history.begin(record("cut")).add(log("so far"));
    await history.close();
    history.begin(record("gone")).end({});
    await history.remove("gone");
    const again = start();
    assert.deepEqual(
      again.list().map(({ error, id }) => [id, error]),
      [["cut", "the engine ended while it was building"]],
    );
    assert.deepEqual(await all(again.events("cut")), ["so far"]);
    assert.equal(readdirSync(folder).length, 1);
  });

  it("keeps so many, so old and so much output", async () => {
    const { folder, start } = open({ records: 2, ageMs: 3_600_000, output: 10 });
    const history = start();
    for (const id of ["one", "two", "three"]) {
      const build = history.begin(record(id));
      for (const text of ["12345", "678", "90123", "4"]) await build.add(log(text));
      build.end({});
      await all(history.events(id));
    }
    assert.deepEqual(
      history.list().map(({ id }) => id),
      ["three", "two"],
    );
    assert.deepEqual(await all(history.events("two")), ["12345", "678", "4", "[5 bytes of output are not kept]\n"]);
    assert.equal(readdirSync(folder).length, 2);
    const old = open({ records: 10, ageMs: -1, output: 10 }).start();
    old.begin(record("old")).end({});
    assert.deepEqual(old.list(), []);
  });

  it("tells who watches, and removes what is asked for but nothing that runs", async () => {
    const history = open().start();
    const told: string[] = [];
    using _watch = history.watch(({ id }, kind) => told.push(`${kind} ${id}`));
    const build = history.begin(record("../../one"));
    assert.throws(
      () => history.begin(record("../../one")),
      (error) => isKind(error, "conflict"),
    );
    await assert.rejects(history.remove("../../one"), (error) => isKind(error, "conflict"));
    build.end({ error: "no" });
    await history.remove("../../one");
    await assert.rejects(history.remove("../../one"), (error) => isKind(error, "not-found"));
    assert.deepEqual(told, ["started ../../one", "complete ../../one", "deleted ../../one"]);
  });

  it("says what was asked for, without passwords", () => {
    const request = {
      ...{ id: "x", context: { type: "git", url: "https://me:secret@host/repo.git#main" }, target: "dev" },
      ...{ dockerfile: { path: "Dockerfile" }, noCache: false, noCacheFilter: ["a"], pull: true, network: "none" },
      buildArgs: new Map([["HTTP_PROXY", "http://user:secret@proxy:3128"]]),
      labels: new Map([["a", "b"]]),
      namedContexts: new Map([["base", "docker-image://busybox"]]),
      outputs: [{ type: "image", attributes: new Map([["name", "x:1,x:2"]]) }],
      platforms: [{ os: "linux", architecture: "arm64" }],
    } as unknown as BuildRequest;
    const { attributes, name, platforms } = describeRequest(request);
    assert.equal(name, "x:1");
    assert.deepEqual(platforms, ["linux/arm64"]);
    assert.deepEqual(attributes, {
      context: "https://xxxxx@host/repo.git#main",
      filename: "Dockerfile",
      target: "dev",
      "no-cache": "a",
      pull: "true",
      network: "none",
      "build-arg:HTTP_PROXY": "http://xxxxx@proxy:3128",
      "label:a": "b",
      "context:base": "docker-image://busybox",
      "output:0": "type=image,name=x:1,x:2",
    });
  });
});

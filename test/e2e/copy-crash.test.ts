import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { tarOf } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

async function run(engine: TestEngine, name: string, script: string, Image = "busybox"): Promise<string> {
  const body = { Image, Cmd: ["sh", "-c", script] };
  const made = await engine.request("POST", `/containers/create?name=${name}`, body);
  assert.equal(made.status, 201, made.text);
  const started = await engine.request("POST", `/containers/${made.json.Id}/start`);
  assert.equal(started.status, 204, started.text);
  return made.json.Id;
}

/** What copies and commits make: to be the same before and after. */
function kept(engine: TestEngine): Record<string, readonly string[]> {
  const listed = (path: string) => (existsSync(path) ? readdirSync(path).sort() : []);
  return {
    mounts: mountsBelow(engine.root).sort(),
    views: listed(join(engine.execRoot, "views")),
    blobs: listed(join(engine.dataRoot, "content/blobs/sha256")),
    ingests: listed(join(engine.dataRoot, "content/ingest")),
    snapshots: listed(join(engine.dataRoot, "overlay2/l")),
    trash: listed(join(engine.dataRoot, "overlay2/trash")),
  };
}

/** A request whose answer is not waited for. */
async function begin(engine: TestEngine, head: string): Promise<Socket> {
  const socket = await engine.connection();
  socket.on("error", () => {});
  socket.write(`${head} HTTP/1.1\r\nHost: x\r\n`);
  return socket;
}

describe("an engine that is killed in the midst of a commit", () => {
  const points = [
    "containers.commit.paused",
    "content.write",
    "content.synced",
    "images.commit.unpacked",
    "snapshots.commit.synced",
    "snapshots.commit.renamed",
    "images.commit.stored",
  ];
  // Of layers that threads pack and extract: they have their own way to a snapshot.
  const large = ["images.packing.laid", "content.synced", "images.commit.unpacked", "snapshots.commit.renamed"];
  const all = [...points.map((point) => ({ point, mega: 0 })), ...large.map((point) => ({ point, mega: 3 }))];
  for (const { mega, point } of all) {
    test(`at ${point} has no image of it, of ${mega} MB, and its container goes on`, async () => {
      await using engine = await startEngine();
      const write = `head -c ${mega}m /dev/urandom > /random; echo changed > /changed; echo ready`;
      const id = await run(engine, "source", `${write}; while :; do sleep 0.1; done`);
      while (!(await engine.request("GET", `/containers/${id}/logs?stdout=1`)).text.includes("ready"));
      const before = kept(engine);
      await engine.restart({ GANTRY_FAILPOINTS: `${point}=kill` });
      await assert.rejects(engine.request("POST", `/commit?container=${id}&repo=made`), `${point} was not reached`);
      await engine.kill();
      await engine.start();
      const { State } = (await engine.request("GET", `/containers/${id}/json`)).json;
      assert.deepEqual([State.Status, State.Paused], ["running", false]);
      assert.deepEqual(kept(engine), before);
      assert.equal((await engine.request("GET", "/images/made/json")).status, 404);
      const made = await engine.request("POST", `/commit?container=${id}&repo=made`);
      assert.equal(made.status, 201, made.text);
      const next = await run(engine, "next", "grep -q changed /changed; exit $?", "made");
      assert.equal((await engine.request("POST", `/containers/${next}/wait`)).json.StatusCode, 0);
    });
  }
});

describe("an engine that is killed in the midst of copies", () => {
  test("leaves no mount and no folder of theirs, and its containers' files stay", async () => {
    await using engine = await startEngine();
    const script = "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; echo ready; sleep 600";
    const id = await run(engine, "source", script);
    while (!(await engine.request("GET", `/containers/${id}/logs?stdout=1`)).text.includes("ready"));
    const before = kept(engine);
    for (let round = 0; round < 3; round++) {
      const reads = await Promise.all(
        ["export", "archive?path=/big", "archive?path=/"].map((what) => begin(engine, `GET /containers/${id}/${what}`)),
      );
      for (const socket of reads) {
        socket.write("\r\n");
        await once(socket, "readable");
      }
      const write = await begin(engine, `PUT /containers/${id}/archive?path=/`);
      write.write("Transfer-Encoding: chunked\r\n\r\n");
      const cut = tarOf([
        { name: "small", body: "whole" },
        { name: "cut", body: Buffer.alloc(1 << 20) },
      ]).subarray(0, 1 << 19);
      write.write(Buffer.concat([Buffer.from(`${cut.length.toString(16)}\r\n`), cut, Buffer.from("\r\n")]));
      while ((await engine.request("HEAD", `/containers/${id}/archive?path=/cut`)).status !== 200);
      assert.equal(kept(engine).views?.length, 1);
      await engine.kill();
      for (const socket of [...reads, write]) socket.destroy();
      await engine.start();
      assert.deepEqual(kept(engine), before);
      assert.equal((await engine.request("GET", `/containers/${id}/json`)).json.State.Running, true);
      const { text } = await engine.request("GET", `/containers/${id}/archive?path=/small`);
      assert.match(text, /whole/);
    }
    assert.doesNotMatch(engine.log, /"level":"error"/);
  });

  test("while a client that reads nothing holds an archive, its container can be stopped, started and removed", async () => {
    await using engine = await startEngine();
    const script = "[ -e /big ] || dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; echo ready; sleep 600";
    const id = await run(engine, "source", script);
    while (!(await engine.request("GET", `/containers/${id}/logs?stdout=1`)).text.includes("ready"));
    const held = await begin(engine, `GET /containers/${id}/archive?path=/big`);
    held.write("\r\n");
    await once(held, "readable");
    for (const [method, what, status] of [
      ["POST", "stop?t=0", 204],
      ["POST", "start", 204],
      ["HEAD", "archive?path=/big", 200],
      ["POST", "restart?t=0", 204],
    ] as const) {
      assert.equal((await engine.request(method, `/containers/${id}/${what}`)).status, status, what);
    }
    assert.equal((await engine.request("DELETE", `/containers/${id}?force=1`)).status, 204);
    assert.equal((await engine.request("GET", `/containers/${id}/json`)).status, 404);
    const name = await engine.request("POST", "/containers/create?name=source", { Image: "busybox" });
    assert.equal(name.status, 201, name.text);
    held.destroy();
    const deadline = Date.now() + 5_000;
    const views = () => readdirSync(join(engine.execRoot, "views"));
    while (views().length > 0 && Date.now() < deadline) await engine.request("GET", "/_ping");
    assert.deepEqual(views(), []);
    assert.doesNotMatch(engine.log, /"level":"error"/);
  });
});

describe("a disk that is full", () => {
  test("is told of by a copy and a commit, which leave no blob, and both work when there is room", async () => {
    await using engine = await startEngine({ image: false });
    await engine.stop();
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", engine.dataRoot]);
    try {
      await engine.start();
      await engine.bootstrap("busybox");
      const id = await run(engine, "source", "while :; do echo line; sleep 0.05; done");
      const before = kept(engine);
      const copy = (megabytes: number) =>
        engine.request(
          "PUT",
          `/containers/${id}/archive?path=/`,
          tarOf([{ name: "big", body: Buffer.alloc(megabytes << 20, 1) }]),
          { "Content-Type": "application/x-tar" },
        );
      const full = await copy(30);
      assert.deepEqual([full.status, full.json.message], [500, "cannot extract big: no space left on device"]);
      assert.equal((await copy(10)).status, 200);
      const commit = () => engine.request("POST", `/commit?container=${id}&repo=made`);
      // Once as a blob and once as a snapshot: no room for both.
      const refused = await commit();
      assert.equal(refused.status, 500);
      assert.match(refused.json.message, /no space left on device/);
      assert.deepEqual(kept(engine), before);
      const { State } = (await engine.request("GET", `/containers/${id}/json`)).json;
      assert.deepEqual([State.Running, State.Paused], [true, false]);
      assert.equal((await copy(1)).status, 200);
      assert.equal((await commit()).status, 201);
      assert.equal((await engine.request("DELETE", `/containers/${id}?force=1`)).status, 204);
      await engine.stop();
    } finally {
      execFileSync("umount", ["-l", engine.dataRoot], { stdio: "ignore" });
    }
  });
});

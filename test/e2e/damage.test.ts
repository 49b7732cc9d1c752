import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { finish } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow, processesOf } from "../leftovers.ts";

describe("a damaged data root", () => {
  let engine: TestEngine;
  let records: string;
  let whole: Buffer;
  before(async () => {
    engine = await startEngine();
    await engine.ok("create", "--name", "kept", "busybox", "true");
    await engine.stop();
    records = join(engine.dataRoot, "gantry.db");
    whole = readFileSync(records);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** Starts the engine, which must refuse with one sentence and touch nothing; then puts the records back. */
  async function refused(sentence: RegExp): Promise<void> {
    const containers = readdirSync(join(engine.dataRoot, "containers"));
    const from = engine.log.length;
    await assert.rejects(engine.start());
    const said = engine.log.slice(from).trim().split("\n");
    assert.match(said[0] ?? "", sentence);
    assert.equal(said.length, 1, said.join("\n"));
    assert.deepEqual(readdirSync(join(engine.dataRoot, "containers")), containers);
    writeFileSync(records, whole);
    for (const end of ["-wal", "-shm"]) rmSync(`${records}${end}`, { force: true });
  }

  test("empty records are refused instead of all being removed that they told of", async () => {
    writeFileSync(records, "");
    await refused(/^gantryd: cannot start: .*gantry\.db is empty, but .* holds containers/);
  });

  test("missing records are refused likewise", async () => {
    rmSync(records);
    await refused(/^gantryd: cannot start: .*gantry\.db is missing, but .* holds containers/);
  });

  test("records that are no database are refused", async () => {
    writeFileSync(records, "garbage ".repeat(1000));
    await refused(/^gantryd: cannot open the records in .*gantry\.db: file is not a database$/);
  });

  test("a record that can't be read is named", async () => {
    const fd = openSync(records, "r+");
    for (let at = 4096; at < statSync(records).size; at += 4096)
      writeSync(fd, Buffer.alloc(600, 0xa5), 0, 600, at + 2000);
    closeSync(fd);
    await refused(/^gantryd: cannot read the records in .*gantry\.db: /);
  });

  test("the folder of a container that somebody removed is made again", async () => {
    await engine.start();
    rmSync(join(engine.dataRoot, "containers"), { recursive: true });
    const started = await engine.request("POST", "/containers/kept/start");
    assert.equal(started.status, 204, started.text);
    await engine.request("POST", "/containers/kept/wait");
    await engine.stop();
  });

  test("what lies in a folder's place is told without a stack", async () => {
    const folder = join(engine.dataRoot, "snapshots");
    execFileSync("mv", [folder, `${folder}.kept`]);
    writeFileSync(folder, "");
    const from = engine.log.length;
    await assert.rejects(engine.start());
    assert.match(engine.log.slice(from), /^gantryd: cannot start: EEXIST: .*\n$/);
    rmSync(folder);
    execFileSync("mv", [`${folder}.kept`, folder]);
    await engine.start();
    assert.equal((await engine.request("GET", "/containers/json?all=1")).json.length, 1);
  });

  test("an engine that can't have its socket leaves no supervisor, no mount, no bridge and no table", async () => {
    const root = join(engine.root, "second");
    const bridge = `g2${engine.root.slice(-6)}`;
    const roots = ["--data-root", join(root, "data"), "--exec-root", join(root, "exec")];
    const config = ["--config-file", join(engine.root, "daemon.json"), "--bridge", bridge];
    const gantryd = join(import.meta.dirname, "../../bin/gantryd");
    const ended = await finish(gantryd, [...roots, ...config, "-H", `unix://${engine.socket}`]);
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /cannot listen on .*: another process serves it/);
    assert.equal((await engine.request("GET", "/_ping")).status, 200);
    assert.ok(existsSync(join(root, "data")));
    assert.deepEqual([processesOf(root), mountsBelow(root)], [[], []]);
    assert.ok(!existsSync(`/sys/class/net/${bridge}`), "its bridge is left");
    assert.ok(!(await finish("nft", ["list", "tables"])).stdout.includes(`gantry-${identity(root)}`));
  });
});

/** The start of an engine's id, by which what it makes in the kernel is called. */
function identity(root: string): string {
  return readFileSync(join(root, "data/engine-id"), "utf8").slice(0, 8);
}

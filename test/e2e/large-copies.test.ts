import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { tarOf } from "../archive.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const MEGABYTE = 1024 * 1024;
/** What others wait at most, for nearly all of their requests: 50 ms plus a busy machine. */
const NEARLY_ALL_MS = 250;
const USUAL_MS = 50;

const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe("large files", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  let local: string;

  before(async () => {
    engine = await startEngine();
    await engine.ok("run", "-d", "--name", "up", "busybox", "sleep", "600");
    local = join(engine.root, "local");
    mkdirSync(local);
    // No two pieces alike, whole and broken sizes, and small ones between.
    for (const [name, size] of Object.entries({ a: 5 * MEGABYTE, b: 7 * MEGABYTE + 13, c: 100, d: MEGABYTE - 1 }))
      writeFileSync(join(local, name), randomBytes(size));
    const sparse = openSync(join(local, "sparse"), "w");
    for (const [at, size] of [
      [0, 10_000],
      [8, 3 * MEGABYTE],
      [16, 4096],
      [24, 2 * MEGABYTE],
      [32, MEGABYTE],
    ] as const) {
      writeSync(sparse, randomBytes(size), 0, size, at * MEGABYTE);
    }
    ftruncateSync(sparse, 40 * MEGABYTE);
    closeSync(sparse);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const tool of ["docker", "gantry"] as const) {
    test(`${tool} copies them in and out as they are`, async () => {
      assert.equal((await engine.tool(tool, ["cp", local, `up:/${tool}`])).stderr, "");
      const out = join(engine.root, `out-${tool}`);
      assert.equal((await engine.tool(tool, ["cp", `up:/${tool}`, out])).stderr, "");
      execFileSync("diff", ["-r", local, out]);
    });
  }

  test("a client that reads an archive slowly gets what a fast one gets", async () => {
    await engine.ok("cp", `${local}/b`, "up:/slow");
    const read = (slowly: boolean) =>
      new Promise<string>((resolve, reject) => {
        const path = "/containers/up/archive?path=/slow";
        const call = request({ socketPath: engine.socket, path }, async (response) => {
          const hash = createHash("sha256");
          for await (const chunk of response) {
            hash.update(chunk as Buffer);
            if (slowly) await pause(1);
          }
          resolve(hash.digest("hex"));
        });
        call.once("error", reject);
        call.end();
      });
    assert.equal(await read(true), await read(false));
  });

  test("what comes in chunks of any size, compressed or not, is written as it is", async () => {
    const body = randomBytes(3 * MEGABYTE + 5);
    const archive = tarOf([
      { name: "x", body },
      { name: "y", body: body.subarray(0, 65_536) },
      { name: "z", body: body.subarray(0, 65_536 - 512) },
    ]);
    for (const [form, bytes] of Object.entries({ plain: archive, packed: gzipSync(archive, { level: 1 }) })) {
      for (const size of [1_000, 65_536, 1_000_000]) {
        await upload(`/containers/up/archive?path=/tmp`, bytes, size);
        for (const [name, length] of Object.entries({ x: body.length, y: 65_536, z: 65_536 - 512 })) {
          const sum = (await engine.ok("exec", "up", "sha256sum", `/tmp/${name}`)).split(" ")[0];
          assert.equal(sum, digest(body.subarray(0, length)), `${form} ${size} ${name}`);
        }
      }
    }
  });

  test("others are answered at once while they are copied", async () => {
    const big = join(engine.root, "big");
    writeFileSync(big, Buffer.alloc(256 * MEGABYTE, "x"));
    const copies = { in: ["cp", big, "up:/big"], out: ["cp", "up:/big", `${big}-out`], export: ["export", "up"] };
    for (const [way, args] of Object.entries(copies)) {
      const times: number[] = [];
      let isOver = false;
      const copy = engine.tool("gantry", args).finally(() => {
        isOver = true;
      });
      while (!isOver) {
        const began = performance.now();
        assert.equal((await engine.request("GET", "/containers/json")).status, 200);
        times.push(performance.now() - began);
      }
      assert.equal((await copy).code, 0, way);
      times.sort((a, b) => a - b);
      const [median = 0, nearlyAll = 0] = [0.5, 0.95].map((share) => times[Math.floor(times.length * share)]);
      assert.ok(median < USUAL_MS && nearlyAll < NEARLY_ALL_MS, `${way}: ${median} and ${nearlyAll} ms`);
    }
  });

  function upload(path: string, bytes: Buffer, size: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const headers = { "Content-Type": "application/x-tar" };
      const call = request({ socketPath: engine.socket, method: "PUT", path, headers }, (response) => {
        response.resume().once("end", () => {
          if (response.statusCode === 200) resolve();
          else reject(new Error(String(response.statusCode)));
        });
      });
      call.once("error", reject);
      for (let at = 0; at < bytes.length; at += size) call.write(bytes.subarray(at, at + size));
      call.end();
    });
  }
});

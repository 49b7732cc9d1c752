import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

for (const tool of ["docker", "gantry"] as const) {
  describe(`logs as ${tool} shows them`, { skip: tool === "docker" ? NO_DOCKER : false }, () => {
    let engine: TestEngine;
    before(async () => {
      engine = await startEngine();
      await engine.tool(tool, [
        "run",
        "--name",
        "talk",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo out$i; done; echo err >&2; printf end",
      ]);
    });
    after(() => engine?.[Symbol.asyncDispose]());

    test("keep the two streams apart and the last line as it was", async () => {
      const said = await engine.tool(tool, ["logs", "talk"]);
      assert.equal(said.stdout, "out1\nout2\nout3\nout4\nout5\nend");
      assert.equal(said.stderr, "err\n");
    });

    test("tail counts lines", async () => {
      const said = await engine.tool(tool, ["logs", "--tail", "1", "talk"]);
      assert.equal(said.stdout, "end");
      assert.equal((await engine.tool(tool, ["logs", "--tail", "0", "talk"])).stdout, "");
      const all = await engine.tool(tool, ["logs", "--tail", "all", "talk"]);
      assert.equal(all.stdout.split("\n").length, 6);
    });

    test("timestamps are RFC 3339 with nanoseconds and don't go backwards", async () => {
      const said = await engine.tool(tool, ["logs", "-t", "talk"]);
      const stamps = said.stdout.split("\n").map((line) => line.split(" ")[0] ?? "");
      for (const stamp of stamps) assert.match(stamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
      assert.deepEqual(stamps, stamps.toSorted());
    });

    test("since and until bound them", async () => {
      assert.equal((await engine.tool(tool, ["logs", "--since", "1h", "talk"])).stdout.split("\n").length, 6);
      assert.equal((await engine.tool(tool, ["logs", "--until", "1h", "talk"])).stdout, "");
      const future = new Date(Date.now() + 3_600_000).toISOString();
      assert.equal((await engine.tool(tool, ["logs", "--since", future, "talk"])).stdout, "");
    });

    test("follow ends with the container and misses nothing", async () => {
      await engine.tool(tool, [
        "run",
        "-d",
        "--name",
        "count",
        "busybox",
        "sh",
        "-c",
        "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done",
      ]);
      const said = await engine.tool(tool, ["logs", "-f", "count"]);
      assert.equal(said.stdout, Array.from({ length: 2000 }, (_, index) => `${index}\n`).join(""));
    });

    test("bytes that are no text come back as they were", async () => {
      await engine.tool(tool, ["run", "--name", "bytes", "busybox", "sh", "-c", "printf '\\377\\000\\001\\n\\200'"]);
      const said = await engine.tool(tool, ["logs", "bytes"]);
      assert.deepEqual([...said.bytes], [0xff, 0, 1, 10, 0x80]);
    });

    test("an attached run and the log hold the same megabytes", async () => {
      const script = "dd if=/dev/urandom bs=64k count=64 2>/dev/null";
      const attached = await engine.tool(tool, ["run", "--name", "pour", "busybox", "sh", "-c", script]);
      assert.equal(attached.bytes.length, 64 * 65536);
      assert.ok(attached.bytes.equals((await engine.tool(tool, ["logs", "pour"])).bytes), "the log differs");
    });
  });
}

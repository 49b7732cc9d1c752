import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

for (const tool of ["docker", "gantry"] as const) {
  describe(`exit codes that ${tool} passes on`, { skip: tool === "docker" ? NO_DOCKER : false }, () => {
    let engine: TestEngine;
    before(async () => {
      engine = await startEngine();
    });
    after(() => engine?.[Symbol.asyncDispose]());

    const rows: readonly [name: string, code: number, stderr: RegExp, ...args: string[]][] = [
      ["the process's own", 42, /^$/, "busybox", "sh", "-c", "exit 42"],
      ["255 stays 255", 255, /^$/, "busybox", "sh", "-c", "exit 255"],
      ["137 for SIGKILL", 137, /^$/, "--init", "busybox", "sh", "-c", "kill -9 $$"],
      ["143 for SIGTERM", 143, /^$/, "--init", "busybox", "sh", "-c", "kill -TERM $$"],
      ["127 for a command that isn't there", 127, /executable file not found in \$PATH/, "busybox", "no-such-command"],
      ["127 for a path that isn't there", 127, /no such file or directory/, "busybox", "/no/such/file"],
      ["126 for a directory as command", 126, /(permission denied|is a directory)/, "busybox", "/etc"],
      ["126 for a file that is not executable", 126, /permission denied/, "busybox", "/etc/passwd"],
      ["125 for an image that can't be had", 125, /./, "--pull", "never", "no-such-image"],
      ["125 for a flag that isn't one", 125, /unknown flag: --no-such-flag/, "--no-such-flag", "busybox"],
      ["125 for a refused request", 125, /invalid/i, "--memory-swappiness", "101", "busybox", "true"],
    ];
    for (const [name, code, stderr, ...args] of rows) {
      test(name, async () => {
        const end = await engine.tool(tool, ["run", "--rm", ...args]);
        assert.equal(end.code, code, end.stderr);
        assert.match(end.stderr, stderr);
        assert.equal((await engine.request("GET", "/containers/json?all=1")).json.length, 0);
      });
    }

    test("exec's own, 127 and 126 as well", async () => {
      await engine.tool(tool, ["run", "-d", "--name", "host", "busybox", "sleep", "600"]);
      assert.equal((await engine.tool(tool, ["exec", "host", "sh", "-c", "exit 17"])).code, 17);
      assert.equal((await engine.tool(tool, ["exec", "host", "no-such-command"])).code, 127);
      assert.equal((await engine.tool(tool, ["exec", "host", "/no/such/file"])).code, 127);
      assert.equal((await engine.tool(tool, ["exec", "host", "/etc"])).code, 126);
      assert.equal((await engine.tool(tool, ["exec", "-w", "/no/such/folder", "host", "true"])).code, 126);
      assert.equal((await engine.tool(tool, ["exec", "no-such-container", "true"])).code, 1);
      await engine.tool(tool, ["rm", "-f", "host"]);
    });
  });
}

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

for (const tool of ["docker", "gantry"] as const) {
  describe(`attach and exec through ${tool}`, { skip: tool === "docker" ? NO_DOCKER : false }, () => {
    let engine: TestEngine;
    before(async () => {
      engine = await startEngine();
    });
    after(() => engine?.[Symbol.asyncDispose]());

    const call = (input: string | Uint8Array, ...args: string[]) => engine.tool(tool, args, { input });

    test("run -i passes input on to its end", async () => {
      const end = await call("one\ntwo\n", "run", "--rm", "-i", "busybox", "wc", "-l");
      assert.equal(end.stdout.trim(), "2");
      assert.equal(end.code, 0);
    });

    test("a megabyte goes in and comes out", async () => {
      const bytes = Buffer.alloc(1 << 20, "0123456789abcdef\n");
      const end = await call(bytes, "run", "--rm", "-i", "busybox", "cat");
      assert.ok(end.bytes.equals(bytes));
    });

    test("without -i input is at its end", async () => {
      assert.equal((await call("unseen", "run", "--rm", "busybox", "cat")).stdout, "");
    });

    test("stdout and stderr arrive apart", async () => {
      const end = await call("", "run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2");
      assert.deepEqual([end.stdout, end.stderr], ["out\n", "err\n"]);
    });

    test("exec runs beside the first process, as another user, elsewhere, with its own environment", async () => {
      await call("", "run", "-d", "--name", "host", "-e", "A=1", "busybox", "sleep", "600");
      const said = async (...args: string[]) => (await call("", "exec", ...args)).stdout.trim();
      assert.equal(await said("host", "sh", "-c", "echo $A"), "1");
      assert.equal(await said("-e", "A=2", "host", "sh", "-c", "echo $A"), "2");
      assert.equal(await said("-w", "/etc", "host", "pwd"), "/etc");
      assert.equal(await said("-u", "65534", "host", "id", "-u"), "65534");
      assert.equal((await call("hello", "exec", "-i", "host", "cat")).stdout, "hello");
      assert.equal((await call("", "exec", "host", "sh", "-c", "echo e >&2")).stderr, "e\n");
      assert.equal((await call("", "exec", "-d", "host", "touch", "/made")).code, 0);
      await call("", "exec", "host", "sh", "-c", "until [ -e /made ]; do :; done");
      await call("", "rm", "-f", "host");
    });

    test("attach joins what runs and ends with it", async () => {
      await call("", "run", "-d", "-i", "--name", "echo", "busybox", "sh", "-c", "read line; echo got $line; exit 5");
      const end = await call("word\n", "attach", "echo");
      assert.equal(end.stdout, "got word\n");
      assert.equal(end.code, 5);
      await call("", "rm", "echo");
    });

    test("start -a shows the output and passes the code on", async () => {
      await call("", "create", "--name", "later", "busybox", "sh", "-c", "echo hi; exit 3");
      const end = await call("", "start", "-a", "later");
      assert.deepEqual([end.stdout, end.code], ["hi\n", 3]);
      await call("", "rm", "later");
    });

    test("a terminal has a size, echoes, and follows the window", async () => {
      await using terminal = engine.terminal(tool, "run", "--rm", "-it", "busybox", "sh");
      await terminal.shows(/# /);
      terminal.type("stty size\n");
      await terminal.shows(/30 100/);
      terminal.resize(120, 40);
      terminal.type("until [ \"$(stty size)\" = '40 120' ]; do :; done; tty; echo re''sized\n");
      await terminal.shows(/\/dev\/pts\/0[\s\S]*resized/);
      terminal.type("exit 6\n");
      assert.equal(await terminal.exit, 6);
    });

    test("the detach keys leave it running, and attach comes back", async () => {
      {
        await using terminal = engine.terminal(tool, "run", "-it", "--name", "kept", "busybox", "sh");
        await terminal.shows(/# /);
        terminal.type("\x10\x11");
        assert.equal(await terminal.exit, 0);
      }
      assert.equal((await engine.request("GET", "/containers/kept/json")).json.State.Running, true);
      {
        await using terminal = engine.terminal(tool, "attach", "--detach-keys", "ctrl-a,d", "kept");
        terminal.type("echo ba''ck\n");
        await terminal.shows(/back/);
        terminal.type("\x01d");
        await terminal.exit;
      }
      await call("", "rm", "-f", "kept");
    });

    test("exec -it has a terminal and Ctrl-C interrupts what runs in it", async () => {
      await call("", "run", "-d", "--name", "host", "busybox", "sleep", "600");
      await using terminal = engine.terminal(tool, "exec", "-it", "host", "sh");
      await terminal.shows(/# /);
      // Said by the process that is to be interrupted: it is in the foreground by then, which a later one may not be.
      terminal.type("sh -c \"echo wait''ing; exec sleep 600\"\n");
      await terminal.shows(/waiting/);
      terminal.type("\x03");
      terminal.type("echo co''de $?\n");
      await terminal.shows(/code 130/);
      terminal.type("exit 4\n");
      assert.equal(await terminal.exit, 4);
      await call("", "rm", "-f", "host");
    });
  });
}

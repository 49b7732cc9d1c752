import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";

describe("what the gantry command does with its own output", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
    await engine.ok("run", "--name", "talker", "busybox", "sh", "-c", "yes | head -50000; echo end >&2");
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** A line of shell in which $gantry is the command; its pipeline's exit codes are printed last. */
  const shell = (line: string) =>
    engine.run("bash", [
      "-c",
      `gantry=$0; ${line}; echo "\${PIPESTATUS[*]}"`,
      `${import.meta.dirname}/../../bin/gantry`,
    ]);

  for (const command of ["ps", "logs talker", "export talker", "cp talker:/etc -", "run --rm busybox echo hi"]) {
    test(`${command} says so when its output can't be written`, async () => {
      const { stdout, stderr } = await shell(`$gantry ${command} 2>&1 >/dev/full | grep -v '^end$'`);
      assert.equal(stdout, "write /dev/stdout: no space left on device\n1 0\n", stderr);
    });
  }

  for (const command of ["logs talker", "export talker", "run --rm busybox seq 100000", "logs -f talker"]) {
    test(`${command} ends in silence when its reader has gone`, async () => {
      const { stdout, stderr } = await shell(`$gantry ${command} 2>/dev/null | head -c 1 >/dev/null`);
      assert.equal(stdout, "141 0\n", stderr);
    });
  }

  test("a terminal gets the line feeds of a container's terminal as they are", async () => {
    await using terminal = engine.terminal(
      "gantry",
      ...["run", "--rm", "-t", "-i", "busybox", "sh", "-c", "stty -onlcr; printf 'a\\nb\\n'; read line"],
    );
    await terminal.shows(/a\nb\n/);
    terminal.type("\r");
    assert.equal(await terminal.exit, 0);
    assert.doesNotMatch(terminal.text, /\r\r\n/);
  });
});

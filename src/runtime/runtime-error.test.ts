import assert from "node:assert/strict";
import { test } from "node:test";
import { exitCodeOfFailure, runtimeWords, startFailure } from "./runtime-error.ts";

test("a runtime's words become those that Docker's clients know, with Docker's exit code", () => {
  const rows = [
    [
      "executable file `nope` not found in $PATH: No such file or directory",
      '"nope": executable file not found in $PATH',
      127,
    ],
    [
      "executable file `/nope` not found: No such file or directory",
      '"/nope": stat /nope: no such file or directory',
      127,
    ],
    ["open executable: Operation not permitted", '"cmd": permission denied', 126],
  ] as const;
  for (const [words, told, code] of rows) {
    const message = startFailure("exec", "crun", words, ["cmd"]);
    const start = "OCI runtime exec failed: exec failed: unable to start container process: exec: ";
    assert.equal(message, `${start}${told}: unknown`);
    assert.equal(exitCodeOfFailure(message, 128), code);
  }
});

test("a failure for another reason has the code of a container or of an exec", () => {
  const message = startFailure("exec", "crun", "write to `cgroup.procs`: Device or resource busy", ["true"]);
  assert.equal(exitCodeOfFailure(message, 128), 128);
  assert.equal(exitCodeOfFailure(message, 126), 126);
  const folder = startFailure("exec", "crun", "chdir to `/nope`: No such file or directory", ["true"]);
  assert.equal(exitCodeOfFailure(folder, 126), 126);
});

test("the last error of a JSON log counts, and plain text is taken as it is", () => {
  const log = '{"msg":"a","level":"error"}\n{"msg":"b","level":"warning"}\n';
  assert.equal(runtimeWords(log), "a");
  assert.equal(runtimeWords("one\ntwo\n"), "two");
});

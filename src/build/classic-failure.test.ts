import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GantryError } from "../base/errors.ts";
import { parseDockerfile } from "../dockerfile/dockerfile.ts";
import { classicFailure } from "./classic-failure.ts";
import { MissingSource, MissingTarget } from "./missing.ts";
import { ProcessFailure, StartFailure } from "./process-failure.ts";

describe("a build's failure, told to a client of the classic builder", () => {
  const within = (cause: unknown) => new GantryError("invalid", "a step failed", { cause });

  it("is a command's with its exit code, however deep in what was thrown", () => {
    const command = new ProcessFailure(["/bin/sh", "-c", 'exit 3 && "x"'], 3, "exit code: 3");
    const told = { message: `The command '/bin/sh -c exit 3 && "x"' returned a non-zero code: 3`, code: 3 };
    assert.deepEqual(classicFailure(command), told);
    assert.deepEqual(classicFailure(within(within(command))), told);
  });

  it("is the runtime's sentence where a command could not be started", () => {
    const message = 'OCI runtime create failed: unable to start container process: exec: "x": permission denied';
    const failure = new StartFailure(["x"], new GantryError("invalid", message));
    assert.equal(failure.message, 'process "x" did not complete successfully: exit code: 1');
    assert.deepEqual(classicFailure(within(failure)), { message });
  });

  it("has a code also where the kernel ended the command for want of memory", () => {
    const { code } = classicFailure(new ProcessFailure(["a"], 137, "cannot allocate memory"));
    assert.equal(code, 137);
  });

  it("names a file that the context lacks", () => {
    const missing = new MissingSource("x", '/a "b"', new GantryError("not-found", '"/a b": not found'));
    const why = 'stat a "b": file does not exist';
    const told = `COPY failed: file not found in build context or excluded by .dockerignore: ${why}`;
    assert.deepEqual(classicFailure(within(missing)), { message: told });
  });

  it("names a target that isn't there", () => {
    const { message } = classicFailure(new MissingTarget("x", 'target stage "x" could not be found'));
    assert.equal(message, "failed to reach build target x in Dockerfile");
  });

  it("names the line that can't be read", () => {
    assert.throws(
      () => parseDockerfile({ name: "Dockerfile", text: "FROM a\nRUN b\nFOO" }),
      (error) =>
        classicFailure(error).message ===
        "dockerfile parse error line 3: unknown instruction: FOO (did you mean FROM?)",
    );
  });

  it("is not taken for another's by its text", () => {
    const text = 'process "/bin/x" did not complete successfully: exit code: 3';
    assert.deepEqual(classicFailure(new GantryError("invalid", text)), { message: text });
    assert.deepEqual(classicFailure("no error at all"), { message: "no error at all" });
  });
});

import assert from "node:assert/strict";
import { openSync } from "node:fs";
import { describe, it } from "node:test";
import { errnoWords, withoutErrno } from "./errno-words.ts";
import { GantryError, SyscallError } from "./errors.ts";

const told = (error: unknown) => {
  const plain = withoutErrno(error);
  assert.ok(plain instanceof GantryError);
  return [plain.kind, plain.message];
};

describe("a failed system call as a sentence", () => {
  it("names what was looked up as Go does, and is to blame on the name", () => {
    for (const call of ["readlinkat", "readlink", "statx", "openat2"]) {
      assert.deepEqual(told(new SyscallError(call, 40, "ELOOP", "/a/b")), ["invalid", "lstat /a/b: too many links"]);
    }
    assert.deepEqual(told(new SyscallError("mkdirat", 36, "ENAMETOOLONG", "n")), [
      "invalid",
      "mkdir n: file name too long",
    ]);
    assert.deepEqual(told(new SyscallError("mkdir", 20, "ENOTDIR", "")), ["invalid", "mkdir: not a directory"]);
  });

  it("is the machine's fault where names are not to blame", () => {
    assert.deepEqual(told(new SyscallError("fsync", 5, "EIO", "")), ["internal", "fsync: input/output error"]);
    let thrown: unknown;
    try {
      openSync("/nowhere/at/all", "r");
    } catch (error) {
      thrown = error;
    }
    assert.deepEqual(told(thrown), ["internal", "open /nowhere/at/all: no such file or directory"]);
  });

  it("names no file of the engine's when the disk is full", () => {
    const full = Object.assign(new Error("ENOSPC: no space left on device, write '/var/lib/x'"), {
      ...{ code: "ENOSPC", syscall: "write", path: "/var/lib/x" },
    });
    assert.deepEqual(told(full), ["internal", "no space left on device"]);
  });

  it("says of a name with NUL what is wrong with it", () => {
    assert.deepEqual(told(new SyscallError("statx", 22, "EINVAL", "name contains NUL")), [
      "invalid",
      "a name contains NUL",
    ]);
  });

  it("leaves what is no system call's as it is", () => {
    for (const error of [new GantryError("conflict", "x"), new Error("x"), "x", undefined]) {
      assert.equal(withoutErrno(error), error);
      assert.equal(errnoWords(error), undefined);
    }
    const own = Object.assign(new GantryError("conflict", "x"), { code: "ENOENT" });
    assert.equal(withoutErrno(own), own);
  });
});

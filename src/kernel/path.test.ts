import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { hasCode, isKind } from "../base/errors.ts";
import {
  evaluateInRoot,
  fstatat,
  mkdirInRoot,
  mknodat,
  O_PATH,
  openat,
  openBeneath,
  openFileAt,
  openInRoot,
  readFileInRoot,
  readlinkat,
  symlinkat,
  unlinkat,
  utimensat,
} from "./path.ts";

describe("paths inside a root", () => {
  let outside: string;
  let root: string;
  beforeEach(() => {
    outside = mkdtempSync(join(tmpdir(), "gantry-path-"));
    root = join(outside, "root");
    mkdirSync(join(root, "etc"), { recursive: true });
    writeFileSync(join(root, "etc/passwd"), "inside");
    writeFileSync(join(outside, "secret"), "outside");
  });
  afterEach(() => rmSync(outside, { recursive: true, force: true }));

  it("opens what lies beneath only where no link is on the way and nothing leads up", () => {
    mkdirSync(join(root, "a/b"), { recursive: true });
    writeFileSync(join(outside, "secret"), "");
    symlinkSync("a", join(root, "link"));
    symlinkSync("../secret", join(root, "out"));
    symlinkSync("/proc/self/root", join(root, "magic"));
    for (const path of ["a/b", "a", "a/../a/b", "."]) closeSync(openBeneath(root, path, O_PATH));
    for (const [path, code] of [
      ["link", "ELOOP"],
      ["link/b", "ELOOP"],
      ["out", "ELOOP"],
      ["magic/etc", "ELOOP"],
      ["..", "EXDEV"],
      ["a/../../secret", "EXDEV"],
      ["/etc", "EXDEV"],
      ["nowhere", "ENOENT"],
    ] as const) {
      assert.throws(
        () => closeSync(openBeneath(root, path, O_PATH)),
        (error) => hasCode(error, code),
        path,
      );
    }
  });

  it("resolves absolute links and too many .. to the root itself", () => {
    symlinkSync("/etc/passwd", join(root, "absolute"));
    symlinkSync("../../../../etc/passwd", join(root, "climbing"));
    for (const path of ["absolute", "climbing", "/etc/passwd", "../../etc/passwd"])
      assert.equal(readFileInRoot(root, path, 100).toString(), "inside");
    symlinkSync(join(outside, "secret"), join(root, "escape"));
    assert.throws(
      () => readFileInRoot(root, "escape", 100),
      (error) => hasCode(error, "ENOENT"),
    );
  });

  it("tells where a path leads, also when the last of its links leads to nothing", () => {
    symlinkSync("/etc", join(root, "abs"));
    symlinkSync("abs/../../../etc/none", join(root, "climbing"));
    symlinkSync("loop", join(root, "loop"));
    assert.equal(evaluateInRoot(root, "/abs/passwd"), "/etc/passwd");
    assert.equal(evaluateInRoot(root, "climbing/x/."), "/etc/none/x");
    assert.equal(evaluateInRoot(root, "../../.."), "/");
    assert.throws(
      () => evaluateInRoot(root, "loop"),
      (error) => hasCode(error, "ELOOP"),
    );
  });

  it("makes folders through dangling links, as a process inside would", () => {
    symlinkSync("/run", join(root, "var-run"));
    closeSync(mkdirInRoot(root, "var-run/a/../b/c", 0o750));
    assert.equal(statSync(join(root, "run/b/c")).mode & 0o7777, 0o750);
    symlinkSync("loop", join(root, "loop"));
    assert.throws(
      () => mkdirInRoot(root, "loop/x"),
      (error) => hasCode(error, "ELOOP"),
    );
    assert.throws(
      () => mkdirInRoot(root, "etc/passwd/x"),
      (error) => hasCode(error, "ENOTDIR"),
    );
  });

  it("reads only regular files, up to the limit, and never waits on a FIFO", () => {
    assert.equal(readFileInRoot(root, "etc/passwd", 6).toString(), "inside");
    assert.throws(
      () => readFileInRoot(root, "etc/passwd", 5),
      (error) => isKind(error, "invalid"),
    );
    assert.throws(
      () => readFileInRoot(root, "etc", 5),
      (error) => isKind(error, "invalid"),
    );
    execFileSync("mkfifo", [join(root, "fifo")]);
    assert.throws(
      () => readFileInRoot(root, "fifo", 5),
      (error) => isKind(error, "invalid"),
    );
    // No driver has this number: opening it would say ENXIO.
    const folder = openat(-100, root, O_PATH | constants.O_DIRECTORY);
    try {
      mknodat(folder, "device", constants.S_IFCHR | 0o600, 511, 65_536);
      assert.equal(openFileAt(folder, "device"), undefined);
      assert.equal(openFileAt(folder, "fifo"), undefined);
    } finally {
      closeSync(folder);
    }
    assert.throws(
      () => readFileInRoot(root, "device", 5),
      (error) => isKind(error, "invalid"),
    );
    assert.match(readFileInRoot("/proc", "self/status", 1 << 20).toString(), /^Name:/);
  });

  it("keeps names that are no UTF-8, and refuses NUL", () => {
    const dir = openInRoot(root, ".", O_PATH);
    try {
      symlinkat("t\udcff", dir, "n\udce9\u{1f600}");
      assert.deepEqual(readlinkat(dir, "n\udce9\u{1f600}"), Buffer.from([0x74, 0xff]));
      unlinkat(dir, "n\udce9\u{1f600}");
      assert.throws(
        () => openat(dir, "etc\0x", O_PATH),
        (error) => hasCode(error, "EINVAL"),
      );
    } finally {
      closeSync(dir);
    }
  });

  it("sets times to the nanosecond and makes device nodes", () => {
    const dir = openInRoot(root, ".", O_PATH);
    try {
      for (const time of [
        { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
        { seconds: -5, nanoseconds: 1 },
        { seconds: 5_000_000_000, nanoseconds: 0 },
      ]) {
        utimensat(dir, "etc/passwd", time, time);
        assert.deepEqual(fstatat(dir, "etc/passwd").mtime, time);
      }
      mknodat(dir, "null", constants.S_IFCHR | 0o600, 1, 3);
      assert.deepEqual(fstatat(dir, "null").rdev, { major: 1, minor: 3 });
      mknodat(dir, "large", constants.S_IFBLK | 0o600, 259, 70_000);
      assert.deepEqual(fstatat(dir, "large").rdev, { major: 259, minor: 70_000 });
      assert.equal(readFileSync(join(root, "etc/passwd"), "utf8"), "inside");
    } finally {
      closeSync(dir);
    }
  });
});

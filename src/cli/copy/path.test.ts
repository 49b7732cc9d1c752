import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  absolutePath,
  arrange,
  type CopyEnd,
  followed,
  localDestination,
  localSource,
  renamer,
  splitArgument,
  splitEntry,
} from "./path.ts";

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "copy-path-"));
  mkdirSync(join(folder, "dir"));
  writeFileSync(join(folder, "file"), "");
  symlinkSync("dir", join(folder, "link"));
  symlinkSync("missing", join(folder, "dangling"));
  symlinkSync("loop", join(folder, "loop"));
});
after(() => rmSync(folder, { recursive: true }));

test("only what a colon cuts and is no path of this machine names a container", () => {
  const rows: readonly (readonly [string, string, string])[] = [
    ["box:/etc", "box", "/etc"],
    ["box:", "box", ""],
    ["box:a:b", "box", "a:b"],
    ["/a:b", "", "/a:b"],
    ["./a:b", "", "./a:b"],
    ["plain", "", "plain"],
    ["-", "", "-"],
  ];
  for (const [argument, container, path] of rows) assert.deepEqual(splitArgument(argument), { container, path });
});

test("a clean path keeps the end that asks for a folder or its content", () => {
  assert.equal(absolutePath("/a/../b/"), "/b/");
  assert.equal(absolutePath("/a/b/."), "/a/b/.");
  assert.equal(absolutePath("/."), "/.");
  assert.equal(absolutePath("/a//b"), "/a/b");
  assert.deepEqual(splitEntry("/a/b/."), { folder: "/a/b", base: "." });
  assert.deepEqual(splitEntry("/a/b/"), { folder: "/a", base: "b" });
  assert.deepEqual(splitEntry("/"), { folder: "/", base: "/" });
});

test("a followed link keeps its own name and its path's end", () => {
  assert.deepEqual(followed("/a/link", "/b/target"), { path: "/b/target", rename: "link" });
  assert.deepEqual(followed("/a/link/", "/b/target"), { path: "/b/target/", rename: "link" });
  assert.deepEqual(followed("/a/same", "/b/same"), { path: "/b/same", rename: "" });
  assert.deepEqual(followed("/a/link/.", "/b/target"), { path: "/b/target/.", rename: "" });
});

test("a link is copied as a link unless it is to be followed, and its folder always is", () => {
  const at = (name: string, follow: boolean) => localSource(join(folder, name), follow);
  assert.equal(at("link", false).isDir, false);
  assert.deepEqual(at("link", true), { path: join(folder, "dir"), rename: "link", exists: true, isDir: true });
  assert.throws(() => at("none", false), /ENOENT: no such file or directory, lstat/);
  assert.throws(() => at("dangling", true), /ENOENT/);
});

test("a destination's links are followed, to something or to nothing yet", () => {
  assert.equal(localDestination(join(folder, "link")).isDir, true);
  assert.deepEqual(localDestination(join(folder, "dangling")), {
    path: join(folder, "missing"),
    exists: false,
    isDir: false,
    rename: "",
  });
  assert.throws(() => localDestination(join(folder, "loop")), /too many symlinks in/);
  assert.throws(() => localDestination(join(folder, "file/x/y")), /ENOTDIR|ENOENT/);
});

test("a copy goes into what is there and takes the name of what is not", () => {
  const end = (path: string, exists: boolean, isDir: boolean): CopyEnd => ({ path, exists, isDir, rename: "" });
  const file = end("/src/f", true, false);
  const dir = end("/src/d", true, true);
  const named = (source: CopyEnd, destination: CopyEnd, name: string): readonly [string, string] => {
    const { folder: into, rename } = arrange(source, destination);
    return [into, rename === undefined ? name : rename(name)];
  };
  assert.deepEqual(named(file, end("/to", true, true), "f"), ["/to", "f"]);
  assert.deepEqual(named(file, end("/to/g", true, false), "f"), ["/to", "g"]);
  assert.deepEqual(named(dir, end("/to/new", false, false), "d/d/x"), ["/to", "new/d/x"]);
  assert.deepEqual(named(end("/src/d/.", true, true), end("/to/new", false, false), "./x"), ["/to", "new/x"]);
  assert.throws(() => arrange(dir, end("/to/g", true, false)), /^Error: cannot copy directory$/);
  assert.throws(() => arrange(file, end("/to/new/", false, false)), /^Error: no such directory$/);
  assert.equal(renamer("/", "top")("/etc/passwd"), "top/etc/passwd");
});

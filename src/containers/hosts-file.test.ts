import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { replaceUnchanged, setHosts } from "./hosts-file.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-hosts-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(text: string): string {
  const path = join(folder, "hosts");
  writeFileSync(path, text);
  return path;
}

test("a name's addresses replace those it had, and all other lines stay", () => {
  const path = fileOf("127.0.0.1\tlocalhost\n10.0.0.2\tweb www\n# mine\n");
  setHosts(path, "web www", ["10.0.0.3", "fd00::3"]);
  assert.equal(readFileSync(path, "utf8"), "127.0.0.1\tlocalhost\n# mine\n10.0.0.3\tweb www\nfd00::3\tweb www\n");
});

test("a file that becomes shorter keeps nothing of its old end", () => {
  const path = fileOf("127.0.0.1\tlocalhost\n10.0.0.2\tweb\n10.0.0.3\tweb\n");
  setHosts(path, "web", ["10.0.0.2"]);
  assert.equal(readFileSync(path, "utf8"), "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n");
  setHosts(path, "web", []);
  assert.equal(readFileSync(path, "utf8"), "127.0.0.1\tlocalhost\n");
});

test("the file stays the same one, since it is bound into the container", () => {
  const path = fileOf("");
  const { ino } = statSync(path);
  setHosts(path, "web", ["10.0.0.2"]);
  assert.equal(readFileSync(path, "utf8"), "10.0.0.2\tweb\n");
  assert.equal(statSync(path).ino, ino);
});

test("a file that has become huge, or is gone, is left alone", () => {
  const huge = "x".repeat((1 << 20) + 1);
  const path = fileOf(huge);
  setHosts(path, "web", ["10.0.0.2"]);
  assert.equal(readFileSync(path, "utf8"), huge);
  const full = `${"x".repeat((1 << 20) - 1)}\n`;
  writeFileSync(path, full);
  setHosts(path, "web", ["10.0.0.2"]);
  assert.equal(readFileSync(path, "utf8"), `${full}10.0.0.2\tweb\n`);
  rmSync(path);
  setHosts(path, "web", ["10.0.0.2"]);
  assert.throws(() => statSync(path), { code: "ENOENT" });
});

test("a file is replaced only if it still says what it said", () => {
  const path = fileOf("nameserver 192.0.2.1\noptions rotate\n");
  replaceUnchanged(path, "nameserver 192.0.2.1\n", "nameserver 127.0.0.11\n");
  assert.equal(readFileSync(path, "utf8"), "nameserver 192.0.2.1\noptions rotate\n");
  replaceUnchanged(path, "nameserver 192.0.2.1\noptions rotate\n", "nameserver 127.0.0.11\n");
  assert.equal(readFileSync(path, "utf8"), "nameserver 127.0.0.11\n");
});

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { hasCode, SyscallError } from "../base/errors.ts";
import {
  bindMount,
  isMountPoint,
  listMounts,
  MNT,
  MS,
  mount,
  mountOverlay,
  mountOverlayClassic,
  type OverlayLayers,
  unmount,
} from "./mount.ts";
import { unshareMounts } from "./namespace.ts";

unshareMounts();
const top = mkdtempSync(join(tmpdir(), "mount-test-"));
mount("test", top, "tmpfs", 0, "");
let folder = "";
let count = 0;

beforeEach(() => {
  folder = join(top, `${count++}`);
  mkdirSync(folder);
});
after(() => {
  for (const row of listMounts(top).reverse()) unmount(row.target, MNT.DETACH);
  rmSync(top, { recursive: true });
});

function make(...names: string[]): string[] {
  return names.map((name) => {
    const path = join(folder, name);
    mkdirSync(path, { recursive: true });
    return path;
  });
}

function layersOf(number: number, prefix: string): OverlayLayers {
  const lower = Array.from({ length: number }, (_, index) => make(`${prefix}${index}`)[0] ?? "");
  for (const [index, path] of lower.entries()) {
    writeFileSync(join(path, "who"), `${index}`);
    writeFileSync(join(path, `only-${index}`), "");
  }
  const [upper = "", work = ""] = make("upper", "work");
  return { lower, upper, work };
}

for (const [name, act] of [
  ["the new mount API", mountOverlay],
  ["mount(2)", mountOverlayClassic],
] as const) {
  test(`an overlay of 200 layers shows the topmost, through ${name}`, () => {
    const layers = layersOf(200, "layer-with-a-name-as-long-as-a-digest-0123456789abcdef-");
    const [target = ""] = make("target");
    act(target, layers);
    assert.equal(readFileSync(join(target, "who"), "utf8"), "0");
    assert.equal(readdirSync(target).length, 201);
    writeFileSync(join(target, "new"), "x");
    assert.ok(existsSync(join(layers.upper ?? "", "new")));
    unmount(target);
    assert.deepEqual(readdirSync(target), []);
  });

  test(`layers with commas, colons and backslashes in their paths work, through ${name}`, () => {
    const layers = layersOf(2, "a,b:c\\d-");
    const [target = ""] = make("target");
    act(target, layers);
    assert.equal(readFileSync(join(target, "who"), "utf8"), "0");
    unmount(target);
  });
}

test("layers with paths longer than fsconfig takes are mounted", () => {
  const layers = layersOf(3, `${"d".repeat(200)}/${"e".repeat(200)}-`);
  const [target = ""] = make("target");
  mountOverlay(target, layers);
  assert.equal(readdirSync(target).length, 4);
  unmount(target);
});

test("an overlay without an upper layer is read-only, with one lower layer too", () => {
  const { lower } = layersOf(2, "l");
  const [target = ""] = make("target");
  for (const layers of [{ lower }, { lower: lower.slice(0, 1) }]) {
    mountOverlay(target, layers);
    assert.throws(
      () => writeFileSync(join(target, "x"), ""),
      (error) => hasCode(error, "EROFS"),
    );
    unmount(target);
  }
});

test("a failed overlay names the call, the errno and the kernel's reason, and leaves no mount", () => {
  const [target = ""] = make("target");
  const layers = { lower: [join(folder, "absent"), join(folder, "absent2")] };
  assert.throws(
    () => mountOverlay(target, layers),
    (error) => error instanceof SyscallError && error.code === "ENOENT" && error.message.includes("absent"),
  );
  assert.equal(isMountPoint(target), false);
});

test("a read-only bind mount takes along what is mounted beneath, read-only too", () => {
  const [source = "", target = "", inner = ""] = make("source", "target", "source/inner");
  mount("test", inner, "tmpfs", MS.NOSUID, "");
  bindMount(source, target, { recursive: true, readonly: true });
  for (const path of ["x", "inner/x"]) {
    assert.throws(
      () => writeFileSync(join(target, path), ""),
      (error) => hasCode(error, "EROFS"),
    );
  }
  assert.ok(listMounts(join(target, "inner"))[0]?.options.includes("nosuid"));
  writeFileSync(join(source, "inner/x"), "");
});

test("a file can be bound onto a file", () => {
  const [source, target] = [join(folder, "a"), join(folder, "b")];
  writeFileSync(source, "a");
  writeFileSync(target, "b");
  bindMount(source, target);
  assert.equal(readFileSync(target, "utf8"), "a");
  assert.equal(isMountPoint(target), true);
  unmount(target);
  assert.equal(isMountPoint(target), false);
});

test("mounts are listed with their escaped names undone", () => {
  const [target = ""] = make("with space\\and\ttab");
  mount("my source", target, "tmpfs", MS.NODEV, "size=4k");
  const rows = listMounts(folder);
  assert.equal(rows.length, 1);
  assert.equal(rows[0]?.target, target);
  assert.equal(rows[0]?.source, "my source");
  assert.ok(rows[0]?.options.includes("nodev"));
  assert.ok(rows[0]?.superOptions.includes("size=4k"));
  assert.equal(isMountPoint(join(folder, "absent")), false);
});

test("unmounting what is not mounted is EINVAL", () => {
  const [target = ""] = make("target");
  assert.throws(
    () => unmount(target),
    (error) => error instanceof SyscallError && error.code === "EINVAL" && error.syscall === "umount2",
  );
});

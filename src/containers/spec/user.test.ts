import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lookUp, resolveUser } from "./user.ts";

const rows = (text: string) => text.split("\n").map((row) => row.split(":"));
const passwd = rows("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:\nbad:x:nine:1::/:\n7:x:70:70::/seven:");
const group = rows("root:x:0:\nstaff:x:50:bob,ann\nann:x:1001:\naudio:x:63:ann\nbad:x:x:ann");

for (const [spec, groups, uid, gid, additional, home] of [
  ["", [], 0, 0, [0], "/root"],
  ["root", [], 0, 0, [0], "/root"],
  ["ann", [], 1000, 1001, [1001, 50, 63], "/home/ann"],
  ["1000", [], 1000, 1001, [1001, 50, 63], "/home/ann"],
  ["ann:staff", [], 1000, 50, [50], "/home/ann"],
  ["ann:9", [], 1000, 9, [9], "/home/ann"],
  ["4242", [], 4242, 0, [0], "/"],
  ["4242:4243", [], 4242, 4243, [4243], "/"],
  [":staff", [], 0, 50, [50], "/root"],
  ["ann", ["audio", "777", "staff"], 1000, 1001, [1001, 50, 63, 777], "/home/ann"],
] as const) {
  test(`user ${JSON.stringify(spec)} with groups [${groups}] is ${uid}:${gid}`, () => {
    assert.deepEqual(lookUp(spec, groups, passwd, group), { uid, gid, additionalGids: additional, home });
  });
}

for (const [spec, groups, message] of [
  ["eve", [], "unable to find user eve: no matching entries in passwd file"],
  ["bad", [], "unable to find user bad: no matching entries in passwd file"],
  ["ann:wheel", [], "unable to find group wheel: no matching entries in group file"],
  ["ann", ["wheel"], "unable to find group wheel: no matching entries in group file"],
  ["-1", [], "uids and gids must be in range 0-2147483647"],
  ["2147483648", [], "uids and gids must be in range 0-2147483647"],
] as const) {
  test(`user ${spec} with groups [${groups}] is refused`, () => {
    assert.throws(() => lookUp(spec, groups, passwd, group), { kind: "invalid", message });
  });
}

test("the files are those of the image, however its links point", () => {
  const folder = mkdtempSync(join(tmpdir(), "user-test-"));
  try {
    const rootfs = join(folder, "rootfs");
    mkdirSync(join(rootfs, "etc"), { recursive: true });
    mkdirSync(join(folder, "outside"));
    writeFileSync(join(folder, "outside/passwd"), "spy:x:1:1::/:\n");
    symlinkSync(join(folder, "outside/passwd"), join(rootfs, "etc/passwd"));
    assert.throws(() => resolveUser(rootfs, "spy"), /unable to find user spy/);
    mkdirSync(join(rootfs, join(folder, "outside")), { recursive: true });
    writeFileSync(join(rootfs, join(folder, "outside/passwd")), "# us\n\ninside:x:5:6::/in:/bin/sh\n");
    assert.deepEqual(resolveUser(rootfs, "inside"), { uid: 5, gid: 6, additionalGids: [6], home: "/in" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

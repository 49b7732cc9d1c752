import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { checkRunnable } from "./emulation.ts";

const linux = (architecture: string) => ({ os: "linux", architecture });
const ARM64 = "7f454c460201010000000000000000000200b700";
const S390X = "7f454c4602020100000000000000000000020016";

function withEntries<T>(entries: Readonly<Record<string, string>>, act: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "gantry-binfmt-"));
  try {
    for (const [name, text] of Object.entries(entries)) writeFileSync(join(folder, name), text);
    return act(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function entry(magic: string, flags = "POCF", first = "enabled"): string {
  return `${first}\ninterpreter /usr/bin/qemu\nflags: ${flags}\noffset 0\nmagic ${magic}\nmask ffff\n`;
}

test("what the processor runs by itself needs no emulator", () => {
  withEntries({}, (folder) => {
    checkRunnable(linux("amd64"), "amd64", folder);
    checkRunnable(linux("386"), "amd64", folder);
    checkRunnable(linux("arm"), "arm64", join(folder, "gone"));
  });
});

test("what has no emulator is refused with a word on how to get one", () => {
  for (const folder of ["/nowhere", undefined]) {
    const refused = () =>
      withEntries({ status: "enabled\n" }, (made) => checkRunnable(linux("arm64"), "amd64", folder ?? made));
    assert.throws(refused, /cannot run a step for linux\/arm64 on linux\/amd64: .*binfmt_misc/);
  }
  assert.throws(() => checkRunnable({ os: "windows", architecture: "amd64" }, "amd64"), /runs Linux alone/);
});

test("an emulator that the kernel holds open is enough, if it is turned on", () => {
  const runs = (entries: Record<string, string>, architecture: string) =>
    withEntries(entries, (folder) => {
      try {
        checkRunnable(linux(architecture), "amd64", folder);
        return true;
      } catch {
        return false;
      }
    });
  const status = "enabled\n";
  assert.equal(runs({ status, "qemu-aarch64": entry(ARM64) }, "arm64"), true);
  assert.equal(runs({ status, "qemu-s390x": entry(S390X) }, "s390x"), true);
  assert.equal(runs({ status, "qemu-aarch64": entry(ARM64) }, "s390x"), false);
  assert.equal(runs({ status, "qemu-aarch64": entry(ARM64, "OC") }, "arm64"), false);
  assert.equal(runs({ status, "qemu-aarch64": entry(ARM64, "POCF", "disabled") }, "arm64"), false);
  assert.equal(runs({ status: "disabled\n", "qemu-aarch64": entry(ARM64) }, "arm64"), false);
});

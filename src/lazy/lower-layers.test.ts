import assert from "node:assert/strict";
import { test } from "node:test";
import { hasLower } from "./lower-layers.ts";

const overlay = (...superOptions: string[]) => ({ fstype: "overlay", superOptions });
const FOLDER = "/run/gan:try/lazy/95338199";

test("an overlay has a layer in whatever way the kernel tells of its lower folders", () => {
  for (const row of [
    overlay("rw", "lowerdir+=/data/l/1/fs", "lowerdir+=/run/gan\\072try/lazy/95338199", "upperdir=/data/l/2/fs"),
    overlay("rw", "lowerdir=/data/l/1/fs:/run/gan\\:try/lazy/95338199:/data/l/3/fs"),
    overlay("ro", "lowerdir=/run/gan\\:try/lazy/95338199:/data/l/3/fs"),
    overlay("rw", "lowerdir+=/tmp/overlay-x1Y2z3/0", "lowerdir+=/tmp/overlay-x1Y2z3/1"),
  ]) {
    assert.ok(hasLower(row, FOLDER), row.superOptions.join());
  }
});

test("other layers and other file systems don't count", () => {
  for (const row of [
    overlay("rw", "lowerdir+=/data/l/95338199/fs", "upperdir=/run/gantry/lazy/95338199"),
    overlay("rw", "lowerdir+=/run/gantry/lazy/195338199", "lowerdir+=/run/gantry/lazy/9533819"),
    { fstype: "fuse.gantry", superOptions: ["rw", "lowerdir+=/run/gantry/lazy/95338199"] },
  ]) {
    assert.ok(!hasLower(row, FOLDER), row.superOptions.join());
  }
});

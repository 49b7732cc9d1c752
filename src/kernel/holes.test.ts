import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { dataRanges } from "./holes.ts";

const MIB = 1 << 20;
let folder = "";
let fd = -1;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holes-test-"));
  fd = openSync(join(folder, "file"), "w+");
});
afterEach(() => {
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

test("tells the data of a file that begins and ends in holes, and goes back to its start", () => {
  writeSync(fd, "first", 8 * MIB);
  writeSync(fd, "second", 32 * MIB);
  ftruncateSync(fd, 64 * MIB);
  const ranges = dataRanges(fd, 64 * MIB, 10) ?? [];
  assert.equal(ranges.length, 2);
  for (const [index, at] of [8 * MIB, 32 * MIB].entries()) {
    const { offset, length } = ranges[index] ?? { offset: 0, length: 0 };
    assert.ok(offset <= at && offset + length >= at + 5 && length <= MIB, `${offset} ${length}`);
  }
  assert.equal(readSync(fd, Buffer.alloc(1), 0, 1, null), 1);
});

test("a hole alone has no data, and too many ranges are none", () => {
  ftruncateSync(fd, MIB);
  assert.deepEqual(dataRanges(fd, MIB, 10), []);
  for (let at = 0; at < 4; at++) writeSync(fd, "x", at * 4 * MIB);
  assert.equal(dataRanges(fd, 13 * MIB, 3), undefined);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { DetachKeys } from "./detach-keys.ts";

test("the sequence is found however it is cut, and an unfinished one is passed on", () => {
  const keys = new DetachKeys(Buffer.from([16, 17]));
  assert.deepEqual(keys.filter(Buffer.from([97, 16])), { bytes: Buffer.from([97]), detached: false });
  assert.deepEqual(keys.filter(Buffer.from([98])), { bytes: Buffer.from([16, 98]), detached: false });
  assert.deepEqual(keys.filter(Buffer.from([16, 16])), { bytes: Buffer.from([16]), detached: false });
  assert.deepEqual(keys.filter(Buffer.from([17, 99])), { bytes: Buffer.alloc(0), detached: true });
});

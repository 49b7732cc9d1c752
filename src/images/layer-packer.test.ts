import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { ContentStore } from "../content/content-store.ts";
import { gather, temporary } from "./image-store.fixture.ts";
import { LayerPacker } from "./layer-packer.ts";

const SIZE = 24 << 20;

/** The first bytes that come from there on; then its reader goes away. */
async function some(packer: LayerPacker, from: number, length: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let left = length;
  for await (const piece of packer.open(from)) {
    pieces.push(piece);
    left -= piece.length;
    if (left <= 0) break;
  }
  return Buffer.concat(pieces).subarray(0, length);
}

test("compresses a blob to the same bytes each time, and knows what it became", async (t) => {
  const content = new ContentStore({ root: temporary(t) });
  const bytes = randomBytes(1 << 20);
  const { digest } = await content.writeBytes(bytes);
  const counts: number[] = [];
  using packer = new LayerPacker(content, digest, (read) => counts.push(read));
  assert.throws(() => packer.packed, /not compressed to its end/);
  const packed = await gather(packer.open(0));
  assert.deepEqual(gunzipSync(packed), bytes);
  assert.equal(counts.at(-1), bytes.length);
  assert.deepEqual(packer.packed, {
    digest: `sha256:${createHash("sha256").update(packed).digest("hex")}`,
    size: packed.length,
  });
  using other = new LayerPacker(content, digest, () => {});
  assert.deepEqual(await gather(other.open(0)), packed);
});

test("goes on from any byte: from what it remembers, or by compressing anew", async (t) => {
  const content = new ContentStore({ root: temporary(t) });
  const { digest } = await content.writeBytes(randomBytes(SIZE));
  using whole = new LayerPacker(content, digest, () => {});
  const expected = await gather(whole.open(0));
  let read = 0;
  using packer = new LayerPacker(content, digest, (bytes) => {
    read = Math.max(read, bytes);
  });
  assert.deepEqual(await some(packer, 0, 1_000_001), expected.subarray(0, 1_000_001));
  assert.ok(read < SIZE / 2, "it reads no further than it is asked to");
  assert.deepEqual(await some(packer, 999_999, 500), expected.subarray(999_999, 1_000_499));
  const far = 16 << 20;
  assert.deepEqual(await some(packer, 1_000_499, far), expected.subarray(1_000_499, 1_000_499 + far));
  // Long out of its memory.
  assert.deepEqual(await some(packer, 17, 100), expected.subarray(17, 117));
  assert.deepEqual(await gather(packer.open(5)), expected.subarray(5));
  assert.deepEqual(packer.packed, whole.packed);
  assert.equal((await gather(packer.open(expected.length))).length, 0);
});

test("lets a reader that was left waiting take nothing from the next one", async (t) => {
  const content = new ContentStore({ root: temporary(t) });
  const { digest } = await content.writeBytes(randomBytes(2 << 20));
  using whole = new LayerPacker(content, digest, () => {});
  const expected = await gather(whole.open(0));
  using packer = new LayerPacker(content, digest, () => {});
  const left = packer.open(0);
  const waiting = left.next();
  assert.deepEqual(await gather(packer.open(0)), expected);
  await waiting;
  await left.return(undefined);
});

test("fails at the end of a blob that the disk has changed", async (t) => {
  const root = temporary(t);
  const content = new ContentStore({ root });
  const { digest } = await content.writeBytes(randomBytes(1 << 20));
  writeFileSync(join(root, "blobs", digest.replace(":", "/")), randomBytes(1 << 20));
  using packer = new LayerPacker(content, digest, () => {});
  await assert.rejects(gather(packer.open(0)), /^GantryError: filesystem layer verification failed for digest sha256:/);
  assert.throws(() => packer.packed);
});

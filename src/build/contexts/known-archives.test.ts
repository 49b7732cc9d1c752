import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256Of } from "../../oci/digest.ts";
import { arrived } from "./known-archives.ts";

async function* cut(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function all(bytes: AsyncIterable<Uint8Array>): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  for await (const piece of bytes) pieces.push(Buffer.from(piece));
  return pieces;
}

test("an archive comes as it was sent, in whatever pieces", async () => {
  for (const length of [0, 1, 300_000, (8 << 20) + 70_000]) {
    const sent = Buffer.alloc(length, "0123456789a");
    for (const sizes of [[100_000], [65_536, 1, 0, 3000], [4095, 4096, 4097]]) {
      const { bytes, digest } = await arrived(cut(sent, sizes));
      assert.equal(Buffer.compare(Buffer.concat(await all(bytes)), sent), 0, `${length} in ${sizes}`);
      assert.equal(digest, length > 8 << 20 ? undefined : sha256Of(sent).replace("sha256:", ""));
    }
  }
});

test("pieces of one byte are not kept one by one", async () => {
  const { bytes } = await arrived(cut(Buffer.alloc(70_000, "ab"), [1]));
  assert.ok((await all(bytes)).length < 4);
});

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { isKind, messageOf } from "../base/errors.ts";
import { expander } from "./expander.ts";

const plain = Buffer.concat([randomBytes(400_000), Buffer.alloc(3_000_000), Buffer.from("end".repeat(50_000))]);
const packs = {
  none: (bytes: Buffer) => bytes,
  gzip: (bytes: Buffer) => gzipSync(bytes),
  zstd: (bytes: Buffer) => zstdCompressSync(bytes),
};

function undo(compression: keyof typeof packs, bytes: Buffer, piece: number): Buffer {
  const pieces: Buffer[] = [];
  const own = expander(compression);
  try {
    const take = (out: Buffer): void => void pieces.push(Buffer.from(out));
    for (let at = 0; at < bytes.length; at += piece) own.push(bytes.subarray(at, at + piece), take);
    own.finish(take);
  } finally {
    own.close();
  }
  return Buffer.concat(pieces);
}

describe("an expander", () => {
  for (const compression of ["none", "gzip", "zstd"] as const) {
    const pack = packs[compression];
    it(`undoes ${compression} in pieces of any size, and in several parts one after the other`, () => {
      assert.deepEqual(undo(compression, pack(plain), 1 << 16), plain);
      assert.deepEqual(undo(compression, pack(plain), 1 << 24), plain);
      const parts = [plain.subarray(0, 1000), Buffer.alloc(0), plain.subarray(1000, 70_000), plain.subarray(70_000)];
      const several = Buffer.concat(parts.map((part) => pack(part)));
      for (const piece of [997, 1 << 16]) assert.deepEqual(undo(compression, several, piece), plain);
      const small = Buffer.concat([pack(Buffer.from("one")), pack(Buffer.from("two"))]);
      assert.equal(undo(compression, small, 1).toString(), "onetwo");
    });
  }

  it("passes over zstd frames that hold nothing, at any border, and as fast as they come", () => {
    const frame = (size: number): Buffer => {
      const bytes = Buffer.alloc(8 + size, 0x28);
      bytes.writeUInt32LE(0x184d2a50 + (size % 16), 0);
      bytes.writeUInt32LE(size, 4);
      return bytes;
    };
    const few = Buffer.concat([frame(3), zstdCompressSync(plain), frame(0), zstdCompressSync(""), frame(70_000)]);
    for (const piece of [1, 3, 7, 1 << 16]) assert.deepEqual(undo("zstd", few, piece), plain, `${piece}`);
    assert.throws(() => undo("zstd", few.subarray(0, -1), 1 << 16), /unexpected EOF/);
    const begun = performance.now();
    const many = [...Array.from({ length: 200_000 }, () => frame(0)), zstdCompressSync("end")];
    assert.equal(undo("zstd", Buffer.concat(many), 1 << 16).toString(), "end");
    assert.ok(performance.now() - begun < 8000, "it took twenty seconds where each began the decoder anew");
  });

  it("undoes parts whose borders are those of the pieces", () => {
    for (const compression of ["gzip", "zstd"] as const) {
      const one = packs[compression](plain.subarray(0, 5000));
      const both = Buffer.concat([one, one]);
      assert.deepEqual(
        undo(compression, both, one.length),
        Buffer.concat([plain.subarray(0, 5000), plain.subarray(0, 5000)]),
      );
    }
  });

  it("refuses what is cut off, at every length", () => {
    for (const compression of ["gzip", "zstd"] as const) {
      const packed = packs[compression](Buffer.from("a text that is short and has an end"));
      for (let length = 1; length < packed.length; length++)
        assert.throws(
          () => undo(compression, packed.subarray(0, length), 7),
          (error) => isKind(error, "invalid") && messageOf(error) === "unexpected EOF",
          `${compression} of ${length} bytes`,
        );
    }
  });

  it("refuses what is damaged", () => {
    for (const compression of ["gzip", "zstd"] as const) {
      const packed = packs[compression](Buffer.from(Array.from({ length: 50_000 }, (_, n) => n * n).join(" ")));
      packed.fill(0xff, 20, 3000);
      assert.throws(
        () => undo(compression, packed, 1 << 16),
        (error) => isKind(error, "invalid") && messageOf(error).includes(`cannot decompress ${compression}`),
        compression,
      );
    }
  });

  it("hands on what its taker throws", () => {
    const own = expander("gzip");
    assert.throws(
      () =>
        own.push(gzipSync(plain), () => {
          throw new RangeError("enough");
        }),
      RangeError,
    );
    own.close();
  });
});

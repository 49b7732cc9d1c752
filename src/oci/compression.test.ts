import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { isKind } from "../base/errors.ts";
import { decompress } from "./compression.ts";

const plain = Buffer.concat([randomBytes(100_000), Buffer.alloc(900_000)]);
const pack = {
  none: (bytes: Buffer) => bytes,
  gzip: (bytes: Buffer) => gzipSync(bytes),
  zstd: (bytes: Buffer) => zstdCompressSync(bytes),
  xz: (bytes: Buffer) => execFileSync("/usr/bin/xz", ["-1c"], { input: bytes }),
};

function pieces(bytes: Buffer, size: number): Readable {
  return Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    })(),
  );
}

async function undo(bytes: Buffer, size = 4096): Promise<{ compression: string; bytes: Buffer }> {
  const { stream, compression } = await decompress(pieces(bytes, size));
  return { compression, bytes: await buffer(stream) };
}

describe("decompress", () => {
  for (const [name, compress] of Object.entries(pack)) {
    it(`undoes ${name}, also in pieces shorter than the magic`, async () => {
      const packed = compress(plain);
      assert.deepEqual(await undo(packed), { compression: name, bytes: plain });
      const short = compress(Buffer.from("short"));
      assert.deepEqual((await undo(short, 1)).bytes.toString(), "short");
    });

    if (name !== "none")
      it(`reads concatenated ${name} streams and refuses cut and broken ones`, async () => {
        const packed = compress(plain);
        assert.deepEqual((await undo(Buffer.concat([packed, packed]))).bytes, Buffer.concat([plain, plain]));
        await assert.rejects(undo(packed.subarray(0, packed.length - 7)), (error) => isKind(error, "invalid"));
        await assert.rejects(
          undo(packed.subarray(0, 5000)),
          (error) => isKind(error, "invalid") && /unexpected EOF/.test(String(error)),
        );
        const broken = Buffer.from(packed);
        broken.fill(0xa5, 6, 60);
        await assert.rejects(undo(broken), (error) => isKind(error, "invalid"));
      });

    it(`ends the source of ${name} when nobody wants the rest`, async () => {
      const source = pieces(compress(plain), 4096);
      const closed = new Promise((resolve) => source.once("close", resolve));
      const { stream } = await decompress(source);
      stream.destroy();
      await closed;
    });
  }

  it("takes an empty stream for what it is, and passes a source's own failure on", async () => {
    assert.deepEqual(await undo(Buffer.alloc(0)), { compression: "none", bytes: Buffer.alloc(0) });
    const failing = Readable.from(
      (function* () {
        yield gzipSync(plain).subarray(0, 1000);
        throw new Error("line went dead");
      })(),
    );
    const { stream } = await decompress(failing);
    await assert.rejects(buffer(stream), /line went dead/);
  });
});

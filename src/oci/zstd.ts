import { pipeline, Readable } from "node:stream";
import { createZstdDecompress } from "node:zlib";
import { GantryError } from "../base/errors.ts";

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;

/**
 * Decompresses one or more zstd frames. Node's own stream takes input that is cut off for a whole one and stops at
 * the second frame (which zstd:chunked layers and parallel compressors write), so frames are told apart here
 * (RFC 8878, section 3.1), and each gets a decoder of its own.
 */
export async function* unzstd(source: AsyncIterable<Uint8Array>, chunkSize: number): AsyncGenerator<Uint8Array> {
  const input = new FrameInput(source);
  try {
    while (await input.more()) {
      const decoder = pipeline(Readable.from(input.frame()), createZstdDecompress({ chunkSize }), () => {
        // The error is the decoder's own and reaches the reader below.
      });
      yield* decoder as AsyncIterable<Uint8Array>;
    }
  } finally {
    await input.close();
  }
}

class FrameInput {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  async more(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return false;
      this.#rest = next.value;
    }
    return true;
  }

  /** The bytes of exactly one frame. */
  async *frame(): AsyncGenerator<Uint8Array> {
    const scanner = new FrameScanner();
    for (;;) {
      const chunk = this.#rest;
      const end = scanner.scan(chunk);
      this.#rest = chunk.subarray(end ?? chunk.length);
      yield chunk.subarray(0, end ?? chunk.length);
      if (end !== undefined) return;
      if (!(await this.more())) throw new GantryError("invalid", "unexpected EOF");
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** Finds where a frame ends, by its headers alone. */
export class FrameScanner {
  #state: "magic" | "skippable" | "descriptor" | "block" | "end" = "magic";
  #skip = 0;
  #value = 0;
  #gathered = 0;
  #checksum = 0;
  #holds: boolean | undefined;

  /** False of a frame that only says something to who knows of it; undefined until its first four bytes came. */
  get holds(): boolean | undefined {
    return this.#holds;
  }

  /** The offset behind the frame's last byte, undefined if it goes on after this chunk. */
  scan(chunk: Uint8Array): number | undefined {
    let at = 0;
    for (;;) {
      const skipped = Math.min(this.#skip, chunk.length - at);
      this.#skip -= skipped;
      at += skipped;
      if (this.#skip > 0) return undefined;
      if (this.#state === "end") return at;
      const width = this.#state === "descriptor" ? 1 : this.#state === "block" ? 3 : 4;
      while (this.#gathered < width) {
        if (at === chunk.length) return undefined;
        this.#value += chunk[at++]! * 2 ** (8 * this.#gathered++);
      }
      this.#advance(this.#value);
      this.#value = 0;
      this.#gathered = 0;
    }
  }

  #advance(value: number): void {
    switch (this.#state) {
      case "magic":
        if (value === MAGIC) this.#state = "descriptor";
        else if (value - (value % 16) === SKIPPABLE) this.#state = "skippable";
        else throw new GantryError("invalid", "cannot decompress zstd: not a frame");
        this.#holds = value === MAGIC;
        return;
      case "skippable":
        this.#skip = value;
        this.#state = "end";
        return;
      case "descriptor": {
        const single = (value >> 5) & 1;
        const contentSize = value >> 6 === 0 ? single : 1 << (value >> 6);
        this.#skip = (single === 1 ? 0 : 1) + ([0, 1, 2, 4][value & 3] ?? 0) + contentSize;
        this.#checksum = (value >> 2) & 1 ? 4 : 0;
        this.#state = "block";
        return;
      }
      case "block": {
        const last = (value & 1) === 1;
        const type = (value >> 1) & 3;
        this.#skip = (type === 1 ? 1 : value >> 3) + (last ? this.#checksum : 0);
        if (last) this.#state = "end";
      }
    }
  }
}

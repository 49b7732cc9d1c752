import { constants, ftruncateSync, readSync, writeSync } from "node:fs";
import { cloneFile } from "../../kernel/clone-file.ts";
import { copyRange } from "../../kernel/copy-range.ts";
import { dataRanges } from "../../kernel/holes.ts";
import { openat } from "../../kernel/path.ts";
import type { Pace } from "./pace.ts";

const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
/** Up to this a file is copied at once: asking the kernel to do it takes longer. */
const SMALL = 128 << 10;
const PIECE = 4 << 20;
const MOST_RANGES = 10_000;

/** Opens a regular file of a root that nobody writes to. */
export function openFile(dir: number, name: string): number {
  return openat(dir, name, FILE);
}

/** Copies files' bytes, sharing blocks where the file system can. */
export class ContentCopier {
  readonly #pace: Pace;
  readonly #memory = Buffer.allocUnsafeSlow(SMALL);
  /** Undefined until it was tried. */
  #clones: boolean | undefined;

  constructor(pace: Pace) {
    this.#pace = pace;
  }

  /** `to` is empty. A promise only for what takes long. */
  copy(from: number, to: number, size: number): Promise<void> | undefined {
    if (size === 0) return undefined;
    if (size <= SMALL) {
      const count = readSync(from, this.#memory, 0, size, 0);
      if (count === size) {
        for (let done = 0; done < size; ) done += writeSync(to, this.#memory, done, size - done, done);
        return undefined;
      }
    }
    return this.#copyLarge(from, to, size);
  }

  async #copyLarge(from: number, to: number, size: number): Promise<void> {
    if (this.#clones !== false) {
      this.#clones = cloneFile(from, to);
      if (this.#clones) return;
    }
    const ranges = dataRanges(from, size, MOST_RANGES) ?? [{ offset: 0, length: size }];
    for (const { offset, length } of ranges) {
      for (let at = offset, end = offset + length; at < end; ) {
        const count = copyRange(from, to, at, Math.min(PIECE, end - at)) ?? this.#copyPiece(from, to, at, end - at);
        if (count === 0) break;
        at += count;
        if (this.#pace.isDue) await this.#pace.take();
      }
    }
    ftruncateSync(to, size);
  }

  #copyPiece(from: number, to: number, at: number, length: number): number {
    const count = readSync(from, this.#memory, 0, Math.min(SMALL, length), at);
    for (let done = 0; done < count; ) done += writeSync(to, this.#memory, done, count - done, at + done);
    return count;
  }
}

import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { realtimeNano } from "../../kernel/clock.ts";
import { writeFrom } from "../../kernel/descriptor.ts";
import { wholeEnd } from "../log-file.ts";
import { FRAME_OVERHEAD, GAP, HEADER_SIZE, writeFrame } from "../log-format.ts";
import type { LogTarget } from "../process.ts";
import { chunk, DATA } from "./transfer.ts";

const GAP_BYTES = 8;

/**
 * Appends chunks to a bounded log. Nothing that goes wrong with the disk is thrown: what can't be written is counted
 * and dropped, and a gap is recorded once there is room again.
 */
export class LogWriter {
  readonly #target: LogTarget;
  readonly #maxSize: number;
  #fd: number | undefined;
  #size = 0;
  #lost = 0n;

  constructor(target: LogTarget) {
    this.#target = target;
    this.#maxSize = target.maxSize > 0 ? target.maxSize : Number.POSITIVE_INFINITY;
    this.#open();
  }

  /** Appends the `size` bytes that lie in the transfer block. */
  append(stream: number, size: number): void {
    if (this.#size > 0 && this.#size + size + FRAME_OVERHEAD > this.#maxSize) this.#rotate();
    if (this.#fd === undefined) this.#open();
    if (this.#lost > 0n) this.#writeGap();
    if (this.#fd === undefined || this.#lost > 0n) {
      this.#lost += BigInt(size);
      return;
    }
    writeFrame(chunk.bytes, DATA, size, stream, realtimeNano());
    const length = size + FRAME_OVERHEAD;
    const from = chunk.address + DATA - HEADER_SIZE;
    let done = 0;
    try {
      while (done < length) done += Math.max(0, writeFrom(this.#fd, from + done, length - done));
      this.#size += length;
    } catch {
      this.#lost += BigInt(size);
      this.#takeBack();
    }
  }

  close(): void {
    if (this.#fd === undefined) return;
    if (this.#lost > 0n) this.#writeGap();
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  #writeGap(): void {
    if (this.#fd === undefined) return;
    const block = Buffer.alloc(GAP_BYTES + FRAME_OVERHEAD);
    block.writeBigUInt64LE(this.#lost, HEADER_SIZE);
    writeFrame(block, HEADER_SIZE, GAP_BYTES, GAP, realtimeNano());
    try {
      if (writeSync(this.#fd, block) < block.length) throw new Error("short write");
      this.#size += block.length;
      this.#lost = 0n;
    } catch {
      this.#takeBack();
    }
  }

  #takeBack(): void {
    try {
      ftruncateSync(this.#fd!, this.#size);
    } catch {
      // The torn frame stays; closing makes the next append look for the last whole one.
      closeSync(this.#fd!);
      this.#fd = undefined;
    }
  }

  #open(): void {
    try {
      mkdirSync(dirname(this.#target.path), { recursive: true, mode: 0o700 });
      this.#fd = openSync(this.#target.path, "a+", 0o640);
      const size = fstatSync(this.#fd).size;
      this.#size = wholeEnd(this.#fd, size);
      if (this.#size < size) ftruncateSync(this.#fd, this.#size);
    } catch {
      if (this.#fd !== undefined) closeSync(this.#fd);
      this.#fd = undefined;
      this.#size = 0;
    }
  }

  #rotate(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    const { path, maxFiles } = this.#target;
    try {
      // The oldest goes first: to rename over a file makes ext4 write the whole of the other to the disk, at once.
      rmSync(maxFiles <= 1 ? path : `${path}.${maxFiles - 1}`, { force: true });
      for (let index = maxFiles - 1; index >= 1; index--) {
        const from = index === 1 ? path : `${path}.${index - 1}`;
        try {
          renameSync(from, `${path}.${index}`);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        }
      }
    } catch {
      // An unrotated log beats a lost line: go on in the same file.
    }
    this.#open();
  }
}

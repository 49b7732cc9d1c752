import { readSync } from "node:fs";
import { FRAME_OVERHEAD, type FrameHeader, HEADER_SIZE, readHeader, TRAILER_SIZE } from "./log-format.ts";

const WALK_BUFFER = 1024 * 1024 + 64 * 1024;

export interface PlacedFrame extends FrameHeader {
  /** Where the frame begins in its file. */
  readonly at: number;
}

/** The frame that ends at `end`, or undefined if what lies there is torn. */
export function frameBefore(fd: number, end: number): PlacedFrame | undefined {
  if (end < FRAME_OVERHEAD) return undefined;
  const trailer = readExactly(fd, end - TRAILER_SIZE, TRAILER_SIZE);
  const at = trailer === undefined ? -1 : end - FRAME_OVERHEAD - trailer.readUInt32LE(0);
  if (at < 0) return undefined;
  const block = readExactly(fd, at, HEADER_SIZE);
  const header = block === undefined ? undefined : readHeader(block, 0);
  return header === undefined || at + header.size + FRAME_OVERHEAD !== end ? undefined : { ...header, at };
}

/** Where the last whole frame of a file of `size` bytes ends: `size` itself, or less if the end is torn. */
export function wholeEnd(fd: number, size: number): number {
  if (size === 0 || frameBefore(fd, size) !== undefined) return size;
  // The end is torn, which a killed writer leaves once in a lifetime: walk from the start.
  const block = Buffer.allocUnsafe(WALK_BUFFER);
  let base = 0;
  let end = 0;
  let held = 0;
  for (;;) {
    const header = readHeader(block.subarray(0, held), end - base);
    const next = header === undefined ? undefined : end + header.size + FRAME_OVERHEAD;
    if (next !== undefined && next <= base + held && header!.size === block.readUInt32LE(next - base - TRAILER_SIZE)) {
      end = next;
      continue;
    }
    if (base === end && held > 0) return end;
    base = end;
    held = readSync(fd, block, 0, block.length, base);
    if (held === 0) return end;
  }
}

/** `size` bytes at `at`, or undefined if the file ends before. */
export function readExactly(fd: number, at: number, size: number): Buffer | undefined {
  const block = Buffer.allocUnsafe(size);
  let done = 0;
  while (done < size) {
    const count = readSync(fd, block, done, size - done, at + done);
    if (count === 0) return undefined;
    done += count;
  }
  return block;
}

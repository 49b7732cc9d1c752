import { fstatSync, readSync } from "node:fs";
import type { LogFrame, LogPlace, LogReading, TailFrame } from "./log-cursor.ts";
import { frameBefore, readExactly, wholeEnd } from "./log-file.ts";
import { FRAME_OVERHEAD, HEADER_SIZE, MAX_CHUNK, readHeader, TRAILER_SIZE } from "./log-format.ts";

const BUFFER_SIZE = 2 * MAX_CHUNK;
const NEWLINE = 10;

/** Reads files of frames (log-format.ts). */
export const FRAMES: LogReading = { frames, wholeEnd, backwards };
/** The same for who asks for no times: frames of one stream that follow each other come as one. */
export const FRAMES_TIMELESS: LogReading = { frames: timelessFrames, wholeEnd, backwards };

function* frames(fd: number, place: LogPlace): Generator<LogFrame> {
  for (;;) {
    const left = fstatSync(fd).size - place.at;
    if (left < FRAME_OVERHEAD) return;
    const block = Buffer.allocUnsafeSlow(Math.min(BUFFER_SIZE, left));
    const held = readSync(fd, block, 0, block.length, place.at);
    let from = 0;
    for (;;) {
      const header = from + HEADER_SIZE <= held ? readHeader(block, from) : undefined;
      if (header === undefined) break;
      const end = from + HEADER_SIZE + header.size;
      if (end + TRAILER_SIZE > held || block.readUInt32LE(end) !== header.size) break;
      place.at += header.size + FRAME_OVERHEAD;
      yield { stream: header.stream, timeNano: header.timeNano, bytes: block.subarray(from + HEADER_SIZE, end) };
      from = end + TRAILER_SIZE;
    }
    // Nothing whole at the start of a full buffer: torn, or being written just now.
    if (from === 0) return;
  }
}

/** Moves the frames of one stream together, in the block of memory that they were read into. */
function* timelessFrames(fd: number, place: LogPlace): Generator<LogFrame> {
  let pending: LogFrame | undefined;
  for (const frame of frames(fd, place)) {
    const { stream, bytes } = frame;
    if (pending !== undefined && pending.stream === stream && pending.bytes.buffer === bytes.buffer) {
      pending = { ...pending, bytes: append(pending.bytes, bytes) };
      continue;
    }
    if (pending !== undefined) yield pending;
    pending = frame;
  }
  if (pending !== undefined) yield pending;
}

/** `bytes` lies behind `first` in the same memory, which this writes over. */
function append(first: Buffer, bytes: Buffer): Buffer {
  const { buffer, byteOffset, length } = first;
  const joined = Buffer.from(buffer, byteOffset, length + bytes.length);
  joined.set(bytes, length);
  return joined;
}

function* backwards(fd: number, end: number, wanted: readonly boolean[]): Generator<TailFrame> {
  for (let frame = frameBefore(fd, end); frame !== undefined; frame = frameBefore(fd, frame.at)) {
    if (wanted[frame.stream] !== true) continue;
    const bytes = readExactly(fd, frame.at + HEADER_SIZE, frame.size);
    if (bytes === undefined) return;
    const { at, stream } = frame;
    yield { at, stream, newlines: newlinesIn(bytes), endsLine: bytes.at(-1) === NEWLINE };
  }
}

function newlinesIn(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}

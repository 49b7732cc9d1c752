/**
 * The frames of a log file. One frame is what one read of a stream gave, not a line:
 *
 *     u32 length | u8 stream | u8 0xc7 | u16 0x4c47 | u64 unix nanoseconds | bytes | u32 length     (little-endian)
 *
 * The length at both ends lets a reader walk either way. Stream 0 is a gap: its eight bytes count what was lost because
 * it could not be written (a full disk).
 */
export const HEADER_SIZE = 16;
export const TRAILER_SIZE = 4;
export const FRAME_OVERHEAD = HEADER_SIZE + TRAILER_SIZE;
/** The most bytes that a frame holds. */
export const MAX_CHUNK = 1024 * 1024;
export const GAP = 0;

const MAGIC = 0x4c47_c700;

export type LogStream = 1 | 2;

export interface FrameHeader {
  readonly size: number;
  /** 0 is a gap. */
  readonly stream: number;
  readonly timeNano: bigint;
}

/** Writes the header that stands before, and the length that stands after, `size` bytes at `offset`. */
export function writeFrame(block: Buffer, offset: number, size: number, stream: number, timeNano: bigint): void {
  const at = offset - HEADER_SIZE;
  block.writeUInt32LE(size, at);
  block.writeUInt32LE(MAGIC + stream, at + 4);
  block.writeBigUInt64LE(timeNano, at + 8);
  block.writeUInt32LE(size, offset + size);
}

/** The header at `at`, or undefined if none can stand there. */
export function readHeader(block: Buffer, at: number): FrameHeader | undefined {
  if (at < 0 || at + HEADER_SIZE > block.length) return undefined;
  const size = block.readUInt32LE(at);
  const stream = block.readUInt32LE(at + 4) - MAGIC;
  if (size === 0 || size > MAX_CHUNK || stream < 0 || stream > 2) return undefined;
  return { size, stream, timeNano: block.readBigUInt64LE(at + 8) };
}

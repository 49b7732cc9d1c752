import type { LogFile } from "./log-cursor.ts";
import { frameBefore, readExactly, wholeEnd } from "./log-file.ts";
import { HEADER_SIZE } from "./log-format.ts";

const NEWLINE = 10;
const STREAMS = 2;

/**
 * Where to begin to read for the last `count` lines of the wanted streams, and how many lines from there are too many.
 * Walks backwards, so that it costs what is at the end, not what the log holds.
 */
export function findTail(
  files: readonly LogFile[],
  wanted: readonly boolean[],
  count: number,
): { readonly file: number; readonly at: number; readonly skip: number } {
  let lines = 0;
  const seen = new Set<number>();
  for (let file = files.length - 1; file >= 0; file--) {
    const { fd, size } = files[file]!;
    let end = wholeEnd(fd, size);
    if (count === 0) return { file, at: end, skip: 0 };
    for (let frame = frameBefore(fd, end); frame !== undefined; frame = frameBefore(fd, end)) {
      end = frame.at;
      if (wanted[frame.stream] !== true) continue;
      const bytes = readExactly(fd, frame.at + HEADER_SIZE, frame.size);
      if (bytes === undefined) break;
      lines += newlinesIn(bytes);
      if (!seen.has(frame.stream) && bytes.at(-1) !== NEWLINE) lines++;
      seen.add(frame.stream);
      // The first line of each stream may have begun before this frame: those are to be left out.
      if (lines >= count + STREAMS) return { file, at: frame.at, skip: lines - count };
    }
  }
  return { file: 0, at: 0, skip: Math.max(0, lines - count) };
}

function newlinesIn(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}

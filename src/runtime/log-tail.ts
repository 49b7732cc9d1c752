import type { LogCursor, LogReading } from "./log-cursor.ts";

const STREAMS = 2;

/**
 * Puts the cursor where the last `count` lines of the wanted streams begin, and says how many lines from there are too
 * many. Walks backwards, so that it costs what is at the end, not what the log holds.
 */
export async function seekTail(
  cursor: LogCursor,
  reading: LogReading,
  wanted: readonly boolean[],
  count: number,
): Promise<number> {
  let lines = 0;
  const seen = new Set<number>();
  for (let index = cursor.files.length - 1; index >= 0; index--) {
    const { fd, size } = await cursor.open(index);
    const end = reading.wholeEnd(fd, size);
    if (count === 0) {
      cursor.seek(index, end);
      return 0;
    }
    for (const { at, stream, newlines, endsLine } of reading.backwards(fd, end, wanted)) {
      lines += newlines;
      if (!seen.has(stream) && !endsLine) lines++;
      seen.add(stream);
      // The first line of each stream may have begun before this frame: those are to be left out.
      if (lines >= count + STREAMS) {
        cursor.seek(index, at);
        return lines - count;
      }
    }
  }
  cursor.seek(0, 0);
  return Math.max(0, lines - count);
}

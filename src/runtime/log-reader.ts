import { JSON_LINES, JSON_LINES_TIMELESS } from "./json-lines.ts";
import { LineSplitter, type LogLine } from "./line-splitter.ts";
import { LogChanges } from "./log-changes.ts";
import { LogCursor, type LogReading } from "./log-cursor.ts";
import { FRAMES, FRAMES_TIMELESS } from "./log-frames.ts";
import { seekTail } from "./log-tail.ts";
import type { LogTarget } from "./process.ts";

export type { LogLine } from "./line-splitter.ts";

export interface ReadLogOptions {
  /** The last so many lines; undefined is all. */
  readonly tail?: number;
  /** Only lines of this time (unix nanoseconds) or later; of this time or earlier. */
  readonly sinceNano?: bigint;
  readonly untilNano?: bigint;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** `data` may hold several whole lines of one time: many times faster, for who does not look at single lines. */
  readonly joined?: boolean;
  /** With `joined`: times are not looked at either, so that lines of several may come as one. */
  readonly timeless?: boolean;
  /** Waits for more until `ended` settles (all that was written by then is given) or `signal` aborts. */
  readonly follow?: boolean;
  readonly ended?: Promise<unknown>;
  readonly signal?: AbortSignal;
}

/**
 * The lines of a log, oldest first. A line carries its newline; one that never got it comes last, without. Its time is
 * that of the chunk in which it began. Lines longer than 1 MiB come in pieces. A missing log is empty; an abort ends
 * the lines without an error.
 */
export async function* readLog(target: LogTarget, options: ReadLogOptions): AsyncGenerator<LogLine> {
  const wanted = [false, options.stdout, options.stderr];
  const { sinceNano = 0n, untilNano = 1n << 64n, signal } = options;
  const inTime = (line: LogLine): boolean => line.timeNano >= sinceNano && line.timeNano <= untilNano;
  const isTimed = options.joined !== true || options.timeless !== true || sinceNano > 0n || untilNano < 1n << 64n;
  const reading = readingOf(target, isTimed);
  const splitter = new LineSplitter();
  using changes = options.follow === true ? new LogChanges(target.path, options.ended, options.signal) : undefined;
  using cursor = new LogCursor(target, reading);
  let skip = options.tail === undefined ? 0 : await seekTail(cursor, reading, wanted, options.tail);
  for (;;) {
    // Asked before reading: what was written until the end came is read after it.
    const isLast = changes?.isOver ?? true;
    do {
      for (const { stream, timeNano, bytes } of cursor.frames()) {
        if (signal?.aborted === true) return;
        // A line that began in time is given whole.
        if (timeNano > untilNano && !splitter.hasBegunBy(untilNano)) return;
        if (wanted[stream] !== true) continue;
        const joined = options.joined === true && skip === 0;
        for (const line of splitter.push(stream === 1 ? 1 : 2, timeNano, bytes, joined)) {
          if (skip > 0) skip--;
          else if (inTime(line)) yield line;
        }
      }
    } while (await cursor.next());
    if (isLast || BigInt(Date.now()) * 1_000_000n > untilNano) break;
    await changes?.next();
  }
  for (const line of splitter.rest()) {
    if (skip > 0) skip--;
    else if (inTime(line)) yield line;
  }
}

/** How the files of a log are read. Without times, lines of different times may be read as one frame. */
function readingOf(target: LogTarget, isTimed = true): LogReading {
  if (target.json === undefined) return isTimed ? FRAMES : FRAMES_TIMELESS;
  return isTimed ? JSON_LINES : JSON_LINES_TIMELESS;
}

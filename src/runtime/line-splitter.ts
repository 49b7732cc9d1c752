import type { LogStream } from "./log-format.ts";

export interface LogLine {
  readonly stream: LogStream;
  /** Unix nanoseconds of the chunk in which the line began. */
  readonly timeNano: bigint;
  /** With its newline; without one a last line, or a piece of an overlong one. */
  readonly data: Uint8Array;
}

const NEWLINE = 10;
/** A line without end must not fill the memory. */
const LONGEST = 1024 * 1024;

interface Partial {
  readonly timeNano: bigint;
  readonly parts: Buffer[];
  size: number;
}

/** Cuts the chunks of two streams into lines. */
export class LineSplitter {
  readonly #partial: (Partial | undefined)[] = [];

  /**
   * The lines that this chunk completes. They are views of `bytes` where they can be. `joined` gives those that begin
   * and end in it as one.
   */
  *push(stream: LogStream, timeNano: bigint, bytes: Buffer, joined = false): Generator<LogLine> {
    let from = 0;
    const begun = this.#partial[stream];
    if (begun !== undefined) {
      const end = bytes.indexOf(NEWLINE) + 1;
      from = end === 0 ? bytes.length : end;
      begun.parts.push(bytes.subarray(0, from));
      begun.size += from;
      if (end === 0 && begun.size < LONGEST) return;
      this.#partial[stream] = undefined;
      yield { stream, timeNano: begun.timeNano, data: Buffer.concat(begun.parts) };
    }
    const last = joined ? bytes.lastIndexOf(NEWLINE) + 1 : 0;
    if (last > from) {
      yield { stream, timeNano, data: bytes.subarray(from, last) };
      from = last;
    }
    for (let end = bytes.indexOf(NEWLINE, from); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
      yield { stream, timeNano, data: bytes.subarray(from, end + 1) };
      from = end + 1;
    }
    if (from < bytes.length) {
      this.#partial[stream] = { timeNano, parts: [bytes.subarray(from)], size: bytes.length - from };
    }
  }

  /** True if a line is unfinished that began at this time or before. */
  hasBegunBy(timeNano: bigint): boolean {
    return this.#partial.some((begun) => begun !== undefined && begun.timeNano <= timeNano);
  }

  /** What never got its newline. */
  *rest(): Generator<LogLine> {
    for (const stream of [1, 2] as const) {
      const begun = this.#partial[stream];
      this.#partial[stream] = undefined;
      if (begun !== undefined) yield { stream, timeNano: begun.timeNano, data: Buffer.concat(begun.parts) };
    }
  }
}

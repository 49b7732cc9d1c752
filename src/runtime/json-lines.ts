import { fstatSync, readSync } from "node:fs";
import { parseTime } from "./json-time.ts";
import type { LogFrame, LogPlace, LogReading, TailFrame } from "./log-cursor.ts";

/**
 * Docker's json-file: a line of JSON a line of output, or a piece of 16 KiB of a longer one, which has no newline:
 *
 *     {"log":"text\n","stream":"stdout","attrs":{"label":"value"},"time":"2006-01-02T15:04:05.999999999Z"}
 */
const BLOCK_SIZE = 1024 * 1024;
const BACK_SIZE = 256 * 1024;
/** No line is longer: attributes are labels, of which a request holds a few megabytes. */
const MOST_LINE = 64 * 1024 * 1024;
const NEWLINE = 10;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const HEAD = Buffer.from('{"log":"');
const AFTER_LOG = Buffer.from(',"stream":"std');
/** `,"stream":"stdout"`, of which the first letter after `std` tells the two apart. */
const STREAM_LENGTH = 18;
const LETTER_O = 0x6f;
const LETTER_U = 0x75;
const CLOSE = 0x7d;
const TIME = Buffer.from(',"time":"');
const MOST_TIME = 36;
/** What a letter behind a backslash stands for; 0 for those that stand for nothing. */
const SHORT = new Uint8Array(256);
for (const pair of ["n\n", "r\r", "t\t", "b\b", "f\f", '""', "\\\\", "//"])
  SHORT[pair.charCodeAt(0)] = pair.charCodeAt(1);

export const JSON_LINES: LogReading = { frames: timedFrames, wholeEnd, backwards };
/** The same for who asks for no times: lines of one stream that follow each other come as one frame. */
export const JSON_LINES_TIMELESS: LogReading = { frames: timelessFrames, wholeEnd, backwards };

function timedFrames(fd: number, place: LogPlace): Generator<LogFrame> {
  return frames(fd, place, true);
}

function timelessFrames(fd: number, place: LogPlace): Generator<LogFrame> {
  return frames(fd, place, false);
}

function* frames(fd: number, place: LogPlace, isTimed: boolean): Generator<LogFrame> {
  let size = BLOCK_SIZE;
  for (;;) {
    const left = fstatSync(fd).size - place.at;
    if (left <= 0) return;
    const block = Buffer.allocUnsafe(Math.min(size, left));
    const held = readSync(fd, block, 0, block.length, place.at);
    const end = block.subarray(0, held).lastIndexOf(NEWLINE) + 1;
    if (end === 0) {
      if (held < size || size >= MOST_LINE) return;
      size *= 4;
      continue;
    }
    size = BLOCK_SIZE;
    yield* new BlockDecoder(block, end, place, isTimed).frames();
  }
}

/** Takes the lines of one block of memory apart. What it finds in a line is in its fields: objects cost too much. */
class BlockDecoder {
  readonly #block: Buffer;
  readonly #end: number;
  readonly #place: LogPlace;
  readonly #isTimed: boolean;
  readonly #out: Buffer;
  #filled = 0;
  /** Where the next line begins. */
  #next = 0;
  #stream = 0;
  #timeFrom = 0;
  #timeTo = 0;

  constructor(block: Buffer, end: number, place: LogPlace, isTimed: boolean) {
    this.#block = block;
    this.#end = end;
    this.#place = place;
    this.#isTimed = isTimed;
    // What is decoded is never longer than what it was.
    this.#out = Buffer.allocUnsafe(end);
  }

  *frames(): Generator<LogFrame> {
    const base = this.#place.at;
    let stream = 0;
    let begun = 0;
    let timeFrom = 0;
    let timeTo = 0;
    for (let at = 0; at < this.#end; at = this.#next) {
      const before = this.#filled;
      if (!this.#plainLine(at) && !this.#foreignLine(at)) continue;
      if (this.#stream === stream && (!this.#isTimed || this.#isOfTime(timeFrom, timeTo))) continue;
      if (before > begun) {
        this.#place.at = base + at;
        yield { stream, timeNano: this.#time(timeFrom, timeTo), bytes: this.#out.subarray(begun, before) };
      }
      begun = before;
      stream = this.#stream;
      timeFrom = this.#timeFrom;
      timeTo = this.#timeTo;
    }
    this.#place.at = base + this.#end;
    if (this.#filled > begun) {
      yield { stream, timeNano: this.#time(timeFrom, timeTo), bytes: this.#out.subarray(begun, this.#filled) };
    }
  }

  /** Decodes a line as dockerd and Gantry write it into `out`; false, with nothing changed, if it is none. */
  #plainLine(at: number): boolean {
    const block = this.#block;
    if (!begins(block, at, HEAD)) return false;
    const out = this.#out;
    let from = at + HEAD.length;
    let to = this.#filled;
    for (;;) {
      const byte = block[from]!;
      if (byte === QUOTE) break;
      if (byte !== BACKSLASH) {
        // A raw newline can only be the end of a line that was torn.
        if (byte === NEWLINE) return false;
        out[to++] = byte;
        from++;
        continue;
      }
      const escaped = block[from + 1]!;
      if (escaped === LETTER_U) {
        const code = hexAt(block, from + 2);
        if (code < 0 || (code >= 0xd800 && code < 0xe000)) return false;
        to = writeCode(out, to, code);
        from += 6;
        continue;
      }
      const short = SHORT[escaped]!;
      if (short === 0) return false;
      out[to++] = short;
      from += 2;
    }
    from++;
    if (!begins(block, from, AFTER_LOG)) return false;
    const letter = block[from + AFTER_LOG.length];
    if (!this.#findTime(from + STREAM_LENGTH)) return false;
    this.#stream = letter === LETTER_O ? 1 : 2;
    this.#filled = to;
    return true;
  }

  /** The time at the end of the line, of which `from` is behind the stream. */
  #findTime(from: number): boolean {
    const block = this.#block;
    if (begins(block, from, TIME)) {
      const timeFrom = from + TIME.length;
      let to = timeFrom;
      while (to - timeFrom < MOST_TIME && block[to] !== QUOTE) to++;
      if (block[to + 1] !== CLOSE || block[to + 2] !== NEWLINE) return false;
      this.#timeFrom = timeFrom;
      this.#timeTo = to;
      this.#next = to + 3;
      return true;
    }
    // Attributes lie between.
    const end = block.indexOf(NEWLINE, from);
    const to = end - 2;
    const timeFrom = block.lastIndexOf(QUOTE, to - 1) + 1;
    if (block[to] !== QUOTE || to - timeFrom > MOST_TIME || !begins(block, timeFrom - TIME.length, TIME)) return false;
    this.#timeFrom = timeFrom;
    this.#timeTo = to;
    this.#next = end + 1;
    return true;
  }

  /** A line that something else wrote: any JSON with the same fields. False for what has not got them. */
  #foreignLine(at: number): boolean {
    const block = this.#block;
    const end = block.indexOf(NEWLINE, at);
    this.#next = end + 1;
    let fields: Record<string, unknown>;
    try {
      fields = (JSON.parse(block.toString("utf8", at, end)) ?? {}) as Record<string, unknown>;
    } catch {
      return false;
    }
    const { log, stream, time } = fields;
    const from = typeof time === "string" ? block.lastIndexOf(time, end) : -1;
    if (typeof log !== "string" || from < at) return false;
    this.#stream = stream === "stderr" ? 2 : 1;
    this.#timeFrom = from;
    this.#timeTo = from + String(time).length;
    this.#filled += this.#out.write(log, this.#filled);
    return true;
  }

  /** Whether the line that was just decoded has the time that lies there. */
  #isOfTime(from: number, to: number): boolean {
    const length = to - from;
    if (this.#timeTo - this.#timeFrom !== length) return false;
    const block = this.#block;
    // They differ at their ends.
    for (let back = 1; back <= length; back++) if (block[to - back] !== block[this.#timeTo - back]) return false;
    return true;
  }

  #time(from: number, to: number): bigint {
    return parseTime(this.#block.toString("latin1", from, to));
  }
}

function begins(block: Buffer, at: number, bytes: Buffer): boolean {
  for (let index = 0; index < bytes.length; index++) if (block[at + index] !== bytes[index]) return false;
  return true;
}

function hexAt(block: Buffer, at: number): number {
  let code = 0;
  for (let index = at; index < at + 4; index++) {
    const byte = block[index]!;
    const digit = byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57;
    if (!(digit >= 0 && digit < 16)) return -1;
    code = code * 16 + digit;
  }
  return code;
}

function writeCode(out: Buffer, at: number, code: number): number {
  let to = at;
  if (code < 0x80) out[to++] = code;
  else if (code < 0x800) {
    out[to++] = 0xc0 | (code >> 6);
    out[to++] = 0x80 | (code & 0x3f);
  } else {
    out[to++] = 0xe0 | (code >> 12);
    out[to++] = 0x80 | ((code >> 6) & 0x3f);
    out[to++] = 0x80 | (code & 0x3f);
  }
  return to;
}

function wholeEnd(fd: number, size: number): number {
  let end = size;
  while (end > 0) {
    const from = Math.max(0, end - BACK_SIZE);
    const block = Buffer.allocUnsafe(end - from);
    const held = readSync(fd, block, 0, block.length, from);
    const newline = block.subarray(0, held).lastIndexOf(NEWLINE);
    if (newline >= 0) return from + newline + 1;
    end = from;
  }
  return 0;
}

function* backwards(fd: number, end: number, wanted: readonly boolean[]): Generator<TailFrame> {
  // The newline at `end - 1` ends the last line; each line begins behind the newline before it.
  let stop = end;
  let size = BACK_SIZE;
  while (stop > 0) {
    const from = Math.max(0, stop - size);
    const block = Buffer.allocUnsafe(stop - from);
    const held = readSync(fd, block, 0, block.length, from);
    if (held < block.length) return;
    let lineEnd = block.length - 1;
    for (;;) {
      const before = lineEnd === 0 ? -1 : block.lastIndexOf(NEWLINE, lineEnd - 1);
      if (before < 0 && from > 0) break;
      const line = tailOf(block, before + 1, lineEnd);
      if (line !== undefined && wanted[line.stream] === true) {
        yield { at: from + before + 1, stream: line.stream, newlines: line.endsLine ? 1 : 0, endsLine: line.endsLine };
      }
      lineEnd = before;
      if (before < 0) return;
    }
    const left = from + lineEnd + 1;
    if (left === stop) {
      if (size >= MOST_LINE) return;
      size *= 4;
    } else size = BACK_SIZE;
    stop = left;
  }
}

const STREAM_FIELD = Buffer.from('","stream":"std');

function tailOf(block: Buffer, from: number, to: number): { stream: number; endsLine: boolean } | undefined {
  // A quote inside the text has a backslash before it, so that the field's own cannot be in it.
  const at = block.subarray(from, to).indexOf(STREAM_FIELD);
  if (at < 0) return undefined;
  const field = from + at;
  const stream = block[field + STREAM_FIELD.length] === LETTER_O ? 1 : 2;
  let slashes = 0;
  while (block[field - 2 - slashes] === BACKSLASH) slashes++;
  return { stream, endsLine: block[field - 1] === 0x6e && slashes % 2 === 1 };
}

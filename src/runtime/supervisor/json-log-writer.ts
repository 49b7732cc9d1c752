import { realtimeNano } from "../../kernel/clock.ts";
import { type NativeBlock, nativeBlock } from "../../kernel/descriptor.ts";
import { JSON_LINES } from "../json-lines.ts";
import { timeText } from "../json-time.ts";
import type { LogTarget } from "../process.ts";
import type { OutputLog } from "./ports.ts";
import { RotatingFile } from "./rotating-file.ts";
import { chunk, DATA } from "./transfer.ts";

/** What dockerd reads at most before it cuts a line. */
const PIECE = 16 * 1024;
const NEWLINE = 10;
const OUT_SIZE = 1024 * 1024;
/** `\u0000` for a byte, the worst case. */
const WORST = 6;
const BACKSLASH = 0x5c;
const RETURN = 13;
const LETTER_N = 0x6e;
const BEGIN = Buffer.from('{"log":"');
const CLOSE = Buffer.from('"}\n');
const LINE_SEPARATOR = Buffer.from("\\u2028");
const PARAGRAPH_SEPARATOR = Buffer.from("\\u2029");
const REPLACEMENT = Buffer.from("\\ufffd");
/** What goes as it is: printable ASCII but for what JSON escapes and what Go's encoder does besides. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x20 && byte < 0x80 && !'"\\<>&'.includes(String.fromCharCode(byte)) ? 1 : 0,
);

const ESCAPES: readonly Buffer[] = Array.from({ length: 128 }, (_, byte) => escapeOf(byte));
const SHORT_RUN = 8;

/** A line whose newline has not come. */
interface Begun {
  bytes: Buffer;
  size: number;
  /** When the line began, as text. */
  time: Buffer | undefined;
}

// One for all writers: what is in it goes out before anything else can run.
let shared: NativeBlock | undefined;

/**
 * Writes Docker's json-file. A line is written when its newline came, or 16 KiB of it, or the end of the output. What
 * can't be written is dropped: the format has no word for a gap.
 */
export class JsonLogWriter implements OutputLog {
  readonly #file: RotatingFile;
  readonly #out: NativeBlock;
  /** What follows the text, by stream. */
  readonly #ends: readonly Buffer[];
  readonly #begun: readonly Begun[];
  /** The part of `out` that is not in the file yet. */
  #from = 0;
  #to = 0;

  constructor(target: LogTarget, attributes: Readonly<Record<string, string>>) {
    this.#file = new RotatingFile(target, JSON_LINES);
    const extra = Object.keys(attributes).length === 0 ? "" : `"attrs":${goJson(attributes)},`;
    this.#ends = ["", "stdout", "stderr"].map((name) => Buffer.from(`","stream":"${name}",${extra}"time":"`));
    this.#begun = this.#ends.map(() => ({ bytes: Buffer.alloc(0), size: 0, time: undefined }));
    shared ??= nativeBlock(OUT_SIZE);
    this.#out = shared;
  }

  append(stream: 1 | 2, size: number): void {
    this.#file.reopen();
    const source = chunk.bytes.subarray(DATA, DATA + size);
    const begun = this.#begun[stream]!;
    const now = timeBytes();
    for (let from = 0; from < size; ) {
      const newline = source.indexOf(NEWLINE, from);
      const to = newline < 0 ? size : newline;
      while (begun.size + to - from >= PIECE) {
        const take = PIECE - begun.size;
        begun.time ??= now;
        this.#piece(stream, begun, source, from, from + take, false, begun.time);
        from += take;
      }
      if (newline >= 0) {
        this.#piece(stream, begun, source, from, to, true, begun.time ?? now);
        begun.time = undefined;
        from = to + 1;
      } else {
        keep(begun, source, from, to);
        begun.time ??= now;
        from = to;
      }
    }
    this.#flush();
  }

  /** What has no newline by now will get none. */
  close(): void {
    for (const [stream, begun] of this.#begun.entries()) {
      if (begun.size === 0) continue;
      this.#file.reopen();
      this.#piece(stream, begun, begun.bytes, 0, 0, false, begun.time ?? timeBytes());
      begun.time = undefined;
    }
    this.#flush();
    this.#file.close();
  }

  /** Writes what the line began with and what follows of it as one line of the file. */
  #piece(
    stream: number,
    begun: Begun,
    source: Buffer,
    from: number,
    to: number,
    hasNewline: boolean,
    time: Buffer,
  ): void {
    if (begun.size === 0) {
      this.#write(stream, source, from, to, hasNewline, time);
      return;
    }
    // A character may lie in both.
    keep(begun, source, from, to);
    this.#write(stream, begun.bytes, 0, begun.size, hasNewline, time);
    begun.size = 0;
  }

  #write(stream: number, source: Buffer, from: number, to: number, hasNewline: boolean, time: Buffer): void {
    const end = this.#ends[stream]!;
    const most = BEGIN.length + WORST * (to - from) + 2 + end.length + time.length + CLOSE.length;
    if (this.#to + most > OUT_SIZE) this.#flush();
    const isLarge = most > OUT_SIZE;
    const out = isLarge ? Buffer.allocUnsafe(most) : this.#out.bytes;
    const begin = this.#to;
    let at = put(out, begin, BEGIN);
    at = encodeText(out, at, source, from, to);
    if (hasNewline) {
      out[at++] = BACKSLASH;
      out[at++] = LETTER_N;
    }
    at = put(out, at, end);
    at = put(out, at, time);
    at = put(out, at, CLOSE);
    if (!this.#file.hasRoom(begin - this.#from, at - begin)) {
      this.#emit(begin);
      this.#file.rotate();
    }
    if (isLarge) this.#file.append(out.subarray(0, at));
    else this.#to = at;
  }

  #flush(): void {
    this.#emit(this.#to);
    this.#from = 0;
    this.#to = 0;
  }

  #emit(to: number): void {
    if (to > this.#from) this.#file.appendFrom(this.#out.address + this.#from, to - this.#from);
    this.#from = to;
  }
}

function timeBytes(): Buffer {
  return Buffer.from(timeText(realtimeNano()), "latin1");
}

function keep(begun: Begun, source: Buffer, from: number, to: number): void {
  if (to === from) return;
  // Most lines end in the chunk that they begin in: room for those that don't is made when there is one.
  if (begun.bytes.length === 0) begun.bytes = Buffer.allocUnsafeSlow(PIECE);
  begun.size += source.copy(begun.bytes, begun.size, from, to);
}

/** Copies few bytes; a call of the copying function would take longer. */
function put(out: Buffer, at: number, bytes: Buffer): number {
  if (bytes.length > 256) return at + bytes.copy(out, at);
  for (let index = 0; index < bytes.length; index++) out[at + index] = bytes[index]!;
  return at + bytes.length;
}

/** The inside of a JSON string as Go writes it; bytes that are no UTF-8 become U+FFFD. */
function encodeText(out: Buffer, start: number, source: Buffer, from: number, to: number): number {
  let at = start;
  for (let index = from; index < to; index++) {
    const byte = source[index]!;
    if (PLAIN[byte] === 1) {
      out[at++] = byte;
      continue;
    }
    if (byte < 0x80) {
      const escaped = ESCAPES[byte]!;
      const first = index;
      while (index + 1 < to && source[index + 1] === byte) index++;
      const end = at + (index - first + 1) * escaped.length;
      // Zeros come by the megabyte.
      if (index > first + SHORT_RUN) out.fill(escaped, at, end);
      else for (let rest = at; rest < end; rest += escaped.length) put(out, rest, escaped);
      at = end;
      continue;
    }
    const size = sequenceSize(source, index, to);
    if (size === 0) at = put(out, at, REPLACEMENT);
    else if (size === 3 && byte === 0xe2 && source[index + 1] === 0x80 && (source[index + 2]! | 1) === 0xa9) {
      // U+2028 and U+2029 end lines in JavaScript.
      at = put(out, at, source[index + 2] === 0xa8 ? LINE_SEPARATOR : PARAGRAPH_SEPARATOR);
      index += 2;
    } else {
      for (let rest = 0; rest < size; rest++) out[at++] = source[index + rest]!;
      index += size - 1;
    }
  }
  return at;
}

function escapeOf(byte: number): Buffer {
  const char = String.fromCharCode(byte);
  if (char === "\\" || char === '"') return Buffer.from(`\\${char}`);
  if (byte === NEWLINE) return Buffer.from("\\n");
  if (byte === RETURN) return Buffer.from("\\r");
  return Buffer.from(`\\u${byte.toString(16).padStart(4, "0")}`);
}

/** The length of the character at `at`; 0 if what is there is no whole, shortest, legal UTF-8. */
function sequenceSize(source: Buffer, at: number, to: number): number {
  const first = source[at]!;
  const size =
    first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (size === 0 || at + size > to) return 0;
  for (let index = 1; index < size; index++) if ((source[at + index]! & 0xc0) !== 0x80) return 0;
  const second = source[at + 1]!;
  if (first === 0xe0 && second < 0xa0) return 0;
  if (first === 0xed && second >= 0xa0) return 0;
  if (first === 0xf0 && second < 0x90) return 0;
  if (first === 0xf4 && second >= 0x90) return 0;
  return size;
}

/** An object as Go's encoder writes a map: keys in order, `<`, `>` and `&` escaped. */
function goJson(values: Readonly<Record<string, string>>): string {
  const sorted = Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)));
  return JSON.stringify(sorted).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

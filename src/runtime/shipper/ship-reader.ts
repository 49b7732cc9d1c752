import { randomBytes } from "node:crypto";
import { closeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { LogCursor, type LogFrame } from "../log-cursor.ts";
import { FRAMES } from "../log-frames.ts";
import type { LogTarget } from "../process.ts";
import type { LinePart, ShippedLine } from "./sender.ts";

const NEWLINE = 10;
/** Where Docker cuts a line. */
const PIECE = 16 * 1024;
const MOST_LINES = 1000;
const MOST_BYTES = 256 * 1024;
/** A prompt that waits for its newline must not keep the memory of all that the other stream said since. */
const MOST_FRAMES = 10_000;
const STREAMS = [1, 2] as const;

/** How far a log was handed out: all before the frame at `at`, and of it and those behind it so much of each stream. */
export interface ShipMark {
  /** The beginning of the file, which tells it from others; empty before the first byte. */
  readonly head: string;
  readonly at: number;
  readonly stdout: number;
  readonly stderr: number;
}

export const BEGINNING: ShipMark = { head: "", at: 0, stdout: 0, stderr: 0 };

export interface ShipBatch {
  readonly lines: readonly ShippedLine[];
  /** Behind these lines. */
  readonly mark: ShipMark;
}

export interface WaitingLimits {
  readonly bytes: number | undefined;
  readonly lines: number | undefined;
}

interface Frame {
  readonly head: string;
  readonly at: number;
  readonly stream: 1 | 2;
  readonly size: number;
}

interface Begun {
  readonly stream: 1 | 2;
  readonly timeNano: bigint;
  bytes: Buffer;
  part: { readonly id: string; next: number } | undefined;
}

/** Cuts a log into the lines that are sent, and knows at each where to go on if that is all that ever was. */
export class ShipReader implements Disposable {
  readonly #cursor: LogCursor;
  readonly #target: LogTarget;
  readonly #begun: (Begun | undefined)[] = [];
  /** The frames of which something was not handed out, oldest first. */
  #frames: Frame[] = [];
  /** Of each stream, counted from the first of `frames`: what was handed out, and what is left out of the first. */
  readonly #given = [0, 0, 0];
  readonly #skip = [0, 0, 0];
  /** Lines that did not fit the batch. */
  #ready: ShippedLine[] = [];
  /** Bytes of the frame's stream that each of `ready` stands for. */
  #readySizes: number[] = [];
  #readyBytes = 0;
  #reading: Generator<LogFrame> | undefined;

  private constructor(target: LogTarget) {
    this.#target = target;
    this.#cursor = new LogCursor(target, FRAMES);
  }

  /**
   * Goes on at a mark. `isLost` if what it names is no more: then the oldest there is follows, and nobody knows how much
   * was in between.
   */
  static open(target: LogTarget, mark: ShipMark): { readonly reader: ShipReader; readonly isLost: boolean } {
    const reader = new ShipReader(target);
    const file = mark.head === "" ? 0 : reader.#cursor.files.findIndex((row) => row.head === mark.head);
    if (mark.head !== "" && file < 0) return { reader, isLost: reader.#cursor.files.length > 0 || mark.at > 0 };
    if (file >= 0 && mark.head !== "") {
      reader.#cursor.seek(file, mark.at);
      reader.#skip[1] = mark.stdout;
      reader.#skip[2] = mark.stderr;
    }
    return { reader, isLost: false };
  }

  /** The next lines; none at the end of what is written now. */
  async next(): Promise<ShipBatch> {
    while (this.#ready.length < MOST_LINES && this.#readyBytes < MOST_BYTES) {
      const at = this.#cursor.position?.at ?? 0;
      this.#reading ??= this.#cursor.frames();
      const { value, done } = this.#reading.next();
      if (done === true) {
        this.#reading = undefined;
        if (!(await this.#cursor.next())) break;
        continue;
      }
      const { stream, timeNano, bytes } = value;
      if (stream === 1 || stream === 2) this.#take(stream, timeNano, bytes, at, this.#cursor.learnHead());
      if (this.#frames.length > MOST_FRAMES) this.#cutBegun();
    }
    return this.#handOut();
  }

  /** The lines that never got their newline: the log has ended. */
  rest(): ShipBatch {
    this.#cutBegun();
    return this.#handOut();
  }

  /**
   * Keeps hold of files that are rotated away while the lines before them wait, but of no more than the log may have.
   * Returns how many lines are given up for that; undefined if nobody can know.
   */
  async keepUp(): Promise<number | undefined> {
    this.#cursor.follow();
    let lost = 0;
    while (this.#cursor.files.length > Math.max(1, this.#target.maxFiles)) {
      this.#reading = undefined;
      const { fd, at } = await this.#cursor.giveUpFirst();
      try {
        lost += (await contentOf(fd, at)).lines;
      } finally {
        closeSync(fd);
      }
    }
    return this.#cursor.takeGap() ? undefined : lost;
  }

  /**
   * Leaves out the oldest of what waits until it is within the limits. Resolves with the number of lines left out and
   * the batch to go on with; undefined if nothing is beyond them.
   */
  async skipBeyond(limits: WaitingLimits): Promise<{ readonly lost: number; readonly batch: ShipBatch } | undefined> {
    const waiting = await this.#waiting();
    const { bytes: mostBytes = Number.POSITIVE_INFINITY, lines: mostLines = Number.POSITIVE_INFINITY } = limits;
    const isBeyond = () => waiting.bytes > mostBytes || waiting.lines > mostLines;
    if (!isBeyond()) return undefined;
    let lost = 0;
    for (;;) {
      const { lines, mark } = await this.next();
      let skipped = 0;
      for (; skipped < lines.length && isBeyond(); skipped++) {
        const { data, part } = lines[skipped]!;
        const isLast = part === undefined || part.isLast;
        waiting.bytes -= data.length + (isLast ? 1 : 0);
        if (!isLast) continue;
        waiting.lines--;
        lost++;
      }
      if (lines.length === 0 || !isBeyond()) return { lost, batch: { lines: lines.slice(skipped), mark } };
    }
  }

  async #waiting(): Promise<{ bytes: number; lines: number }> {
    this.#cursor.follow();
    this.#reading = undefined;
    const waiting = { bytes: 0, lines: 0 };
    for (let index = 0; index < this.#cursor.files.length; index++) {
      const { fd } = await this.#cursor.open(index);
      const { bytes, lines } = await contentOf(fd, index === 0 ? (this.#cursor.position?.at ?? 0) : 0);
      waiting.bytes += bytes;
      waiting.lines += lines;
    }
    return waiting;
  }

  [Symbol.dispose](): void {
    this.#cursor[Symbol.dispose]();
  }

  #take(stream: 1 | 2, timeNano: bigint, bytes: Buffer, at: number, head: string): void {
    this.#frames.push({ head, at, stream, size: bytes.length });
    const skipped = Math.min(this.#skip[stream]!, bytes.length);
    this.#skip[stream]! -= skipped;
    this.#given[stream]! += skipped;
    this.#lines(stream, timeNano, bytes.subarray(skipped));
  }

  #lines(stream: 1 | 2, timeNano: bigint, bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, from);
      const to = newline < 0 ? bytes.length : newline;
      let begun = this.#begun[stream];
      while ((begun?.bytes.length ?? 0) + to - from >= PIECE) {
        begun ??= { stream, timeNano, bytes: Buffer.alloc(0), part: undefined };
        const take = PIECE - begun.bytes.length;
        begun.part ??= { id: randomBytes(32).toString("hex"), next: 1 };
        this.#emit(begun, bytes.subarray(from, from + take), false, 0);
        this.#begun[stream] = begun;
        from += take;
      }
      if (newline >= 0) {
        this.#emit(begun ?? { stream, timeNano, bytes: EMPTY, part: undefined }, bytes.subarray(from, to), true, 1);
        this.#begun[stream] = undefined;
        from = to + 1;
      } else {
        const rest = bytes.subarray(from, to);
        if (begun === undefined) this.#begun[stream] = { stream, timeNano, bytes: Buffer.from(rest), part: undefined };
        else begun.bytes = Buffer.concat([begun.bytes, rest]);
        from = to;
      }
    }
  }

  #emit(begun: Begun, rest: Buffer, isLast: boolean, newline: number): void {
    const data = begun.bytes.length === 0 ? rest : Buffer.concat([begun.bytes, rest]);
    const { stream, timeNano, part: numbered } = begun;
    const part: LinePart | undefined =
      numbered === undefined ? undefined : { id: numbered.id, ordinal: numbered.next++, isLast };
    this.#ready.push({ stream, timeNano, data, part });
    this.#readySizes.push(data.length + newline);
    this.#readyBytes += data.length + newline;
    begun.bytes = EMPTY;
  }

  #cutBegun(): void {
    for (const stream of STREAMS) {
      const begun = this.#begun[stream];
      if (begun !== undefined && begun.bytes.length > 0) this.#emit(begun, EMPTY, false, 0);
      this.#begun[stream] = undefined;
    }
  }

  #handOut(): ShipBatch {
    const lines = this.#ready;
    for (const [index, { stream }] of lines.entries()) this.#given[stream]! += this.#readySizes[index]!;
    this.#ready = [];
    this.#readySizes = [];
    this.#readyBytes = 0;
    let whole = 0;
    for (const { stream, size } of this.#frames) {
      if (this.#given[stream]! < size) break;
      this.#given[stream]! -= size;
      whole++;
    }
    this.#frames.splice(0, whole);
    const first = this.#frames[0];
    const here = this.#cursor.position;
    const head = first?.head ?? this.#cursor.learnHead();
    const at = first?.at ?? here?.at ?? 0;
    return { lines, mark: { head, at, stdout: this.#given[1]!, stderr: this.#given[2]! } };
  }
}

const EMPTY = Buffer.alloc(0);

async function contentOf(fd: number, from: number): Promise<{ readonly bytes: number; readonly lines: number }> {
  let size = 0;
  let lines = 0;
  let counted = 0;
  const place = { at: from };
  for (const { stream, bytes } of FRAMES.frames(fd, place)) {
    if (stream === 0) continue;
    size += bytes.length;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
    if (size - counted < MOST_BYTES) continue;
    counted = size;
    await turn();
  }
  return { bytes: size, lines };
}

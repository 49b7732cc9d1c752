import { closeSync, fstatSync, openSync, statSync } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { headOf, type LogHead, openUnpacked, readPackedHead, WHOLE_HEAD } from "./log-pack.ts";
import type { LogTarget } from "./process.ts";

export interface LogFrame {
  /** 0 is a gap. */
  readonly stream: number;
  readonly timeNano: bigint;
  readonly bytes: Buffer;
}

/** A place in a file, which whoever reads from it moves. */
export interface LogPlace {
  at: number;
}

/** How a log file's bytes are read. */
export interface LogReading {
  /** The whole frames from `place` on, to the end of what is written now; moves `place` behind each. */
  frames(fd: number, place: LogPlace): Generator<LogFrame>;
  /** The offset behind the last whole frame of a file of `size` bytes. */
  wholeEnd(fd: number, size: number): number;
  /** Walks back from `end` over the frames of the wanted streams, newest first. */
  backwards(fd: number, end: number, wanted: readonly boolean[]): Generator<TailFrame>;
}

/** A frame as it is met on the way back. */
export interface TailFrame {
  readonly at: number;
  readonly stream: number;
  readonly newlines: number;
  readonly endsLine: boolean;
}

export interface LogFile extends LogHead {
  /** Undefined until it is opened: a packed file is unpacked only for who gets that far. */
  fd: number | undefined;
  readonly path: string;
}

export interface OpenLogFile extends LogFile {
  fd: number;
  readonly size: number;
}

/** A place in a log of several files, which goes on through rotations. */
export class LogCursor implements Disposable {
  readonly #target: LogTarget;
  readonly #reading: LogReading;
  #files: LogFile[];
  readonly #place: LogPlace = { at: 0 };
  /** The first file was renamed: its writer had closed it before, so that its next reading is the last. */
  #isFinal = false;
  #hadGap = false;

  constructor(target: LogTarget, reading: LogReading) {
    this.#target = target;
    this.#reading = reading;
    this.#files = listLog(target);
  }

  /** Oldest first, as they were when they were listed. */
  get files(): readonly LogFile[] {
    return this.#files;
  }

  /** The first of `files`, and where in it the next frame begins. Undefined before the first byte of the log. */
  get position(): { readonly file: LogFile; readonly at: number } | undefined {
    const file = this.#files[0];
    return file === undefined ? undefined : { file, at: this.#place.at };
  }

  async open(index: number): Promise<OpenLogFile> {
    const file = this.#files[index]!;
    file.fd ??= await openUnpacked(file.path);
    return { ...file, fd: file.fd, size: fstatSync(file.fd).size };
  }

  seek(file: number, at: number): void {
    for (const left of this.#files.splice(0, file)) closeFile(left);
    this.#place.at = at;
    this.#isFinal = false;
  }

  /** The whole frames from here to the end of this file. Each fill has a buffer of its own. */
  *frames(): Generator<LogFrame> {
    const fd = this.#files[0]?.fd;
    if (fd !== undefined) yield* this.#reading.frames(fd, this.#place);
  }

  /** Goes on behind what `frames` gave. False at the end of what is written now. */
  async next(): Promise<boolean> {
    const file = this.#files[0];
    if (file === undefined) {
      this.#files = listLog(this.#target);
      if (this.#files.length === 0) return false;
      await this.#openFirst();
      return true;
    }
    if (file.fd === undefined) {
      await this.#openFirst();
      return true;
    }
    if (this.#files.length === 1) {
      if (!this.#wasRotated(file)) return false;
      if (!this.#isFinal) {
        this.#isFinal = true;
        return true;
      }
      this.#followRotation(file);
      if (this.#files.length === 1) return false;
    }
    this.#files.shift();
    closeFile(file);
    this.#place.at = 0;
    this.#isFinal = false;
    await this.#openFirst();
    return true;
  }

  /** The beginning of the first file: one that was empty when it was listed has it by now. */
  learnHead(): string {
    const file = this.#files[0];
    if (file === undefined) return "";
    if (file.head.length < WHOLE_HEAD && file.fd !== undefined)
      this.#files[0] = { ...file, head: headOf(file.fd).head };
    return this.#files[0]!.head;
  }

  /** True once if a file came and went without having been seen. */
  takeGap(): boolean {
    const had = this.#hadGap;
    this.#hadGap = false;
    return had;
  }

  /** Lists, and so holds, what was rotated since: files that were rotated away are still there for this cursor. */
  follow(): void {
    const newest = this.#files.at(-1);
    if (newest === undefined) this.#files = listLog(this.#target);
    else if (this.#wasRotated(newest)) this.#followRotation(newest);
  }

  /** Gives the first file up, unread from `at` on; the caller closes it. */
  async giveUpFirst(): Promise<{ readonly fd: number; readonly at: number }> {
    const { fd } = await this.open(0);
    const { at } = this.#place;
    this.#files.shift();
    this.#place.at = 0;
    this.#isFinal = false;
    await this.#openFirst();
    return { fd, at };
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.splice(0)) closeFile(file);
  }

  /** A packed file that is rotated away before it is opened is over. */
  async #openFirst(): Promise<void> {
    for (;;) {
      const file = this.#files[0];
      if (file === undefined || file.fd !== undefined) return;
      try {
        file.fd = await openUnpacked(file.path);
        return;
      } catch (error) {
        if (!hasCode(error, "ENOENT")) throw error;
        this.#files.shift();
      }
    }
  }

  #wasRotated(file: LogFile): boolean {
    try {
      return statSync(this.#target.path).ino !== file.inode;
    } catch {
      return false;
    }
  }

  #followRotation(file: LogFile): void {
    const files = listLog(this.#target);
    const known = files.findIndex((row) => isSame(row, file));
    if (known < 0) this.#hadGap = true;
    for (const row of files.splice(0, known + 1)) closeFile(row);
    this.#files.push(...files);
  }
}

function isSame(a: LogFile, b: LogFile): boolean {
  return a.inode === b.inode && writtenNano(a, b) === writtenNano(b, a);
}

/** Of two files that are both not packed and both open the inode says it all. */
function writtenNano(file: LogFile, other: LogFile): bigint | undefined {
  if (file.writtenNano !== undefined || other.writtenNano === undefined || file.fd === undefined)
    return file.writtenNano;
  return fstatSync(file.fd, { bigint: true }).mtimeNs;
}

function closeFile(file: LogFile): void {
  if (file.fd !== undefined) closeSync(file.fd);
  file.fd = undefined;
}

function listLog(target: LogTarget): LogFile[] {
  for (;;) {
    const files: LogFile[] = [];
    let moved = false;
    // From the newest on: a rotation meanwhile shows a file twice, but hides none.
    for (let index = 0; index < Math.max(1, target.maxFiles); index++) {
      const file = findFile(index === 0 ? target.path : `${target.path}.${index}`);
      if (file === undefined) {
        if (index === 0) continue;
        break;
      }
      moved ||= files.some((row) => isSame(row, file));
      files.unshift(file);
    }
    if (!moved) return files;
    for (const file of files) closeFile(file);
  }
}

function findFile(path: string): LogFile | undefined {
  // Packing makes the packed one first and then removes the other: one of them is always there.
  for (const packed of [false, true]) {
    try {
      if (packed) return { ...readPackedHead(`${path}.gz`), fd: undefined, path: `${path}.gz` };
      const fd = openSync(path, "r");
      return { ...headOf(fd), fd, path };
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
    }
  }
  return undefined;
}

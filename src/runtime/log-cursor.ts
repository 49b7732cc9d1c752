import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { FRAME_OVERHEAD, HEADER_SIZE, MAX_CHUNK, readHeader, TRAILER_SIZE } from "./log-format.ts";
import type { LogTarget } from "./process.ts";

const BUFFER_SIZE = 2 * MAX_CHUNK;

export interface LogFrame {
  /** 0 is a gap. */
  readonly stream: number;
  readonly timeNano: bigint;
  readonly bytes: Buffer;
}

export interface LogFile {
  readonly fd: number;
  readonly inode: number;
  readonly size: number;
}

/** A place in a log of several files, which goes on through rotations. */
export class LogCursor implements Disposable {
  readonly #target: LogTarget;
  #files: LogFile[];
  #at = 0;

  constructor(target: LogTarget) {
    this.#target = target;
    this.#files = openLog(target);
  }

  /** Oldest first, as they were when they were opened. */
  get files(): readonly LogFile[] {
    return this.#files;
  }

  seek(file: number, at: number): void {
    for (const left of this.#files.splice(0, file)) closeSync(left.fd);
    this.#at = at;
  }

  /** All whole frames from here to the end of what is written now. Each fill has a buffer of its own. */
  *frames(): Generator<LogFrame> {
    for (;;) {
      const file = this.#files[0];
      if (file === undefined) {
        this.#files = openLog(this.#target);
        if (this.#files.length === 0) return;
        continue;
      }
      yield* this.#framesOf(file.fd);
      if (this.#files.length === 1) {
        if (!this.#wasRotated(file)) return;
        // The writer closed it before it was renamed: now it is final.
        yield* this.#framesOf(file.fd);
        this.#followRotation(file);
        if (this.#files.length === 1) return;
      }
      this.#files.shift();
      closeSync(file.fd);
      this.#at = 0;
    }
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.splice(0)) closeSync(file.fd);
  }

  *#framesOf(fd: number): Generator<LogFrame> {
    for (;;) {
      const left = fstatSync(fd).size - this.#at;
      if (left < FRAME_OVERHEAD) return;
      const block = Buffer.allocUnsafeSlow(Math.min(BUFFER_SIZE, left));
      const held = readSync(fd, block, 0, block.length, this.#at);
      let from = 0;
      for (;;) {
        const header = from + HEADER_SIZE <= held ? readHeader(block, from) : undefined;
        if (header === undefined) break;
        const end = from + HEADER_SIZE + header.size;
        if (end + TRAILER_SIZE > held || block.readUInt32LE(end) !== header.size) break;
        this.#at += header.size + FRAME_OVERHEAD;
        yield { stream: header.stream, timeNano: header.timeNano, bytes: block.subarray(from + HEADER_SIZE, end) };
        from = end + TRAILER_SIZE;
      }
      // Nothing whole at the start of a full buffer: torn, or being written just now.
      if (from === 0) return;
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
    const files = openLog(this.#target);
    const known = files.findIndex((row) => row.inode === file.inode);
    for (const row of files.splice(0, known + 1)) closeSync(row.fd);
    this.#files.push(...files);
  }
}

function openLog(target: LogTarget): LogFile[] {
  for (;;) {
    const files: LogFile[] = [];
    let moved = false;
    // From the newest on: a rotation meanwhile shows a file twice, but hides none.
    for (let index = 0; index < Math.max(1, target.maxFiles); index++) {
      const file = openFile(index === 0 ? target.path : `${target.path}.${index}`);
      if (file === undefined) {
        if (index === 0) continue;
        break;
      }
      moved ||= files.some((row) => row.inode === file.inode);
      files.unshift(file);
    }
    if (!moved) return files;
    for (const file of files) closeSync(file.fd);
  }
}

function openFile(path: string): LogFile | undefined {
  try {
    const fd = openSync(path, "r");
    const { ino, size } = fstatSync(fd);
    return { fd, inode: ino, size };
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

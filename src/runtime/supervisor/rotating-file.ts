import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { hasCode } from "../../base/errors.ts";
import { writeFrom } from "../../kernel/descriptor.ts";
import type { LogReading } from "../log-cursor.ts";
import { packLog } from "../log-pack.ts";
import type { LogTarget } from "../process.ts";

/**
 * The file at the head of a bounded log. Appends appear whole or not at all; nothing that goes wrong with the disk is
 * thrown.
 */
export class RotatingFile {
  readonly #target: LogTarget;
  readonly #reading: LogReading;
  readonly #maxSize: number;
  #fd: number | undefined;
  #size = 0;
  #packing: AbortController | undefined;

  constructor(target: LogTarget, reading: LogReading) {
    this.#target = target;
    this.#reading = reading;
    this.#maxSize = target.maxSize > 0 ? target.maxSize : Number.POSITIVE_INFINITY;
    this.#open();
  }

  get isOpen(): boolean {
    return this.#fd !== undefined;
  }

  /** Whether `length` bytes have room behind `before` others that are yet to be appended. An empty file takes anything. */
  hasRoom(before: number, length: number): boolean {
    const filled = this.#size + before;
    return filled === 0 || filled + length <= this.#maxSize;
  }

  /** Opens the file again if it could not be, or was closed. */
  reopen(): void {
    if (this.#fd === undefined) this.#open();
  }

  /** Appends `length` bytes of native memory; false, with nothing appended, if they can't be written. */
  appendFrom(address: number, length: number): boolean {
    const fd = this.#fd;
    if (fd === undefined) return false;
    let done = 0;
    try {
      while (done < length) done += Math.max(0, writeFrom(fd, address + done, length - done));
      this.#size += length;
      return true;
    } catch {
      this.#takeBack();
      return false;
    }
  }

  append(bytes: Buffer): boolean {
    const fd = this.#fd;
    if (fd === undefined) return false;
    try {
      if (writeSync(fd, bytes) < bytes.length) throw new Error("short write");
      this.#size += bytes.length;
      return true;
    } catch {
      this.#takeBack();
      return false;
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  rotate(): void {
    this.close();
    this.#packing?.abort();
    const { path, maxFiles } = this.#target;
    try {
      // The oldest goes first: to rename over a file makes ext4 write the whole of the other to the disk, at once.
      const oldest = maxFiles <= 1 ? path : `${path}.${maxFiles - 1}`;
      rmSync(oldest, { force: true });
      if (this.#target.compress === true) rmSync(`${oldest}.gz`, { force: true });
      for (let index = maxFiles - 1; index >= 1; index--) {
        const from = index === 1 ? path : `${path}.${index - 1}`;
        renameIfThere(from, `${path}.${index}`);
        if (this.#target.compress === true && index > 1) renameIfThere(`${from}.gz`, `${path}.${index}.gz`);
      }
    } catch {
      // An unrotated log beats a lost line: go on in the same file.
    }
    this.#open();
    if (this.#target.compress === true) void this.#pack();
  }

  #takeBack(): void {
    try {
      ftruncateSync(this.#fd!, this.#size);
    } catch {
      // What is torn stays; closing makes the next append look for the last whole one.
      this.close();
    }
  }

  #open(): void {
    try {
      mkdirSync(dirname(this.#target.path), { recursive: true, mode: 0o700 });
      this.#fd = openSync(this.#target.path, "a+", 0o640);
      const size = fstatSync(this.#fd).size;
      this.#size = this.#reading.wholeEnd(this.#fd, size);
      if (this.#size < size) ftruncateSync(this.#fd, this.#size);
    } catch {
      this.close();
      this.#size = 0;
    }
  }

  /** Packs what is not packed yet. A rotation renames the files meanwhile: then what was begun is begun again. */
  async #pack(): Promise<void> {
    const packing = new AbortController();
    const before = this.#packing;
    this.#packing = packing;
    if (before !== undefined && !before.signal.aborted) before.abort();
    const { path, maxFiles } = this.#target;
    for (let index = 1; index < maxFiles && !packing.signal.aborted; index++) {
      if (!existsSync(`${path}.${index}`)) continue;
      try {
        await packLog(`${path}.${index}`, packing.signal);
      } catch {
        // Rotated meanwhile, removed with its container, or the disk is full: it stays as it is.
      }
    }
  }
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

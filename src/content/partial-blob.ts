import type { FileHandle } from "node:fs/promises";
import { open, rm } from "node:fs/promises";
import { failpoint } from "../base/failpoint.ts";
import type { Blob } from "./blob.ts";
import { writeAll } from "./write-all.ts";

/**
 * A blob that is being downloaded. Its bytes are on the way and believed by nobody: they are in the file as soon as
 * `append` resolves, for whoever reads it as it grows, and a later download goes on from them, also after a crash.
 */
export interface PartialBlob extends AsyncDisposable {
  readonly path: string;
  /** Bytes so far. */
  readonly size: number;
  append(pieces: readonly Uint8Array[]): Promise<void>;
  /** Forgets all bytes. */
  restart(): Promise<void>;
  /**
   * The caller has verified the bytes: they become the blob, durable and visible when this resolves. `synced` says that
   * the caller has brought them to the disk.
   */
  publish(options?: { readonly synced?: boolean }): Promise<Blob>;
  /** Removes the bytes. */
  discard(): Promise<void>;
}

export class PartialFile implements PartialBlob {
  readonly path: string;
  #size: number;
  readonly #file: FileHandle;
  readonly #publish: (path: string) => Promise<Blob>;
  #release: (() => void) | undefined;

  private constructor(path: string, size: number, file: FileHandle, owner: Owner) {
    this.path = path;
    this.#size = size;
    this.#file = file;
    this.#publish = owner.publish;
    this.#release = owner.release;
  }

  static async open(path: string, owner: Owner): Promise<PartialFile> {
    const file = await open(path, "a", 0o644);
    try {
      return new PartialFile(path, (await file.stat()).size, file, owner);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get size(): number {
    return this.#size;
  }

  async append(pieces: readonly Uint8Array[]): Promise<void> {
    failpoint("content.partial.append");
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length === 0) return;
    await writeAll(this.#file, pieces, length);
    this.#size += length;
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#size = 0;
  }

  async publish(options: { readonly synced?: boolean } = {}): Promise<Blob> {
    failpoint("content.partial.whole");
    // Young, so that a collection that began before does not take it.
    const now = new Date();
    await this.#file.utimes(now, now);
    if (options.synced !== true) await this.#file.sync();
    failpoint("content.partial.synced");
    return this.#publish(this.path);
  }

  async discard(): Promise<void> {
    await rm(this.path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const release = this.#release;
    this.#release = undefined;
    if (release === undefined) return;
    try {
      // Nothing has arrived: nothing to go on from.
      if (this.#size === 0) await this.discard();
      await this.#file.close();
    } finally {
      release();
    }
  }
}

interface Owner {
  publish(path: string): Promise<Blob>;
  /** Called once, when the partial is disposed of. */
  release(): void;
}

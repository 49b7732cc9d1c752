import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { Readable } from "node:stream";
import { GantryError } from "../../base/errors.ts";
import { fstatat, O_PATH, openBeneath } from "../../kernel/path.ts";
import { decompress } from "../../oci/compression.ts";
import { TarParser } from "../../oci/tar/parser.ts";
import { extractArchive } from "../../snapshots/unpack-tree.ts";
import type { ContentIndex } from "../root.ts";

const BLOCK = 512;
/** The longest text that is taken for a Dockerfile. */
const MOST_TEXT = 16 << 20;
/** Whatever an archive's size, it may unpack to this. */
const FREE = 1 << 30;
const MOST_INDEXED = 1_000_000;

/** What came: a folder's files and their length together, or a Dockerfile alone. */
export type Unpacked =
  | { readonly kind: "folder"; readonly index: ArchiveIndex; readonly bytes: number }
  | { readonly kind: "text"; readonly text: string };

/** What is copied from a context is root's, unless a Dockerfile says otherwise. */
const ROOT = { uid: 0, gid: 0 };

export interface UnpackOptions {
  /** Bytes that an archive may unpack to for each of its own. */
  readonly mostRatio: number;
  /** Bytes that it may unpack to whatever its size. */
  readonly free?: number;
  readonly signal: AbortSignal;
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Puts an archive, compressed or not, into a new folder. Its names are resolved in there by the kernel, whatever links
 * it brings. What is no archive is taken for the text of a Dockerfile.
 */
export async function unpackContext(
  bytes: AsyncIterable<Uint8Array>,
  folder: string,
  options: UnpackOptions,
): Promise<Unpacked> {
  const { signal } = options;
  const counted = new Counter(options);
  const { stream } = await decompress(Readable.from(counted.packed(bytes), { objectMode: false }));
  try {
    const start = await peek(stream);
    if (start.length === 0) throw new GantryError("invalid", "cannot build: the context is empty");
    if (!isTar(start)) return { kind: "text", text: await textOf(stream, start) };
    mkdirSync(folder, { mode: 0o755 });
    const index = new ArchiveIndex(folder);
    try {
      const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await extractArchive(fd, Readable.from(counted.unpacked(start, stream), { objectMode: false }), {
          ...{ destination: "/", mountPoints: [], owner: ROOT, keepKinds: false, signal },
          onFile: (inode, digest) => index.add(inode, digest),
        });
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      index.close();
      throw error;
    }
    return { kind: "folder", index, bytes: counted.bytes };
  } finally {
    stream.destroy();
  }
}

/** Digests of what an archive brought, by inode: names in it may mean one file by several ways. */
export class ArchiveIndex implements ContentIndex {
  readonly #digests: Map<number, Buffer>;
  readonly #root: number;
  #isComplete: boolean;

  constructor(folder: string, digests = new Map<number, Buffer>(), isComplete = true) {
    this.#digests = digests;
    this.#isComplete = isComplete;
    this.#root = openSync(folder, O_PATH | constants.O_DIRECTORY);
  }

  /** Of another folder with the same files. */
  of(folder: string): ArchiveIndex {
    return new ArchiveIndex(folder, this.#digests, this.#isComplete);
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  add(inode: number, digest: Buffer | undefined): void {
    if (digest !== undefined && this.#digests.size < MOST_INDEXED) {
      this.#digests.set(inode, digest);
      return;
    }
    // The number may have been another file's before, which the archive replaced.
    this.#digests.delete(inode);
    this.#isComplete = false;
  }

  digest(path: string): string | undefined {
    let fd: number;
    try {
      fd = openBeneath(this.#root, path, O_PATH | constants.O_NOFOLLOW);
    } catch {
      return undefined;
    }
    try {
      const { ino, mode } = fstatat(fd, "");
      const digest = (mode & constants.S_IFMT) === constants.S_IFREG ? this.#digests.get(ino) : undefined;
      return digest === undefined ? undefined : `sha256:${digest.toString("hex")}`;
    } finally {
      closeSync(fd);
    }
  }

  close(): void {
    closeSync(this.#root);
  }
}

/** A header with the right checksum, or the end mark of an empty archive. */
function isTar(start: Buffer): boolean {
  if (start.length < BLOCK) return false;
  if (start.subarray(0, BLOCK).every((byte) => byte === 0)) return true;
  try {
    new TarParser({ entry: () => {}, data: () => {}, end: () => {} }).push(Buffer.from(start.subarray(0, BLOCK)));
    return true;
  } catch {
    return false;
  }
}

async function peek(stream: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  const iterator = stream.iterator({ destroyOnReturn: false });
  for await (const piece of iterator as AsyncIterable<Buffer>) {
    pieces.push(piece);
    length += piece.length;
    if (length >= BLOCK) break;
  }
  return Buffer.concat(pieces);
}

async function textOf(stream: Readable, start: Buffer): Promise<string> {
  const pieces = [start];
  let length = start.length;
  for await (const piece of stream as AsyncIterable<Buffer>) {
    pieces.push(piece);
    length += piece.length;
    if (length > MOST_TEXT)
      throw new GantryError("invalid", "cannot build: the context is no archive, and too long for a Dockerfile");
  }
  const bytes = Buffer.concat(pieces);
  if (bytes.includes(0))
    throw new GantryError("invalid", "cannot build: the context is neither an archive nor a Dockerfile");
  return bytes.toString("utf8");
}

/** Holds what an archive unpacks to against what came of it. */
class Counter {
  readonly #options: UnpackOptions;
  #packed = 0;
  #unpacked = 0;

  constructor(options: UnpackOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#unpacked;
  }

  async *packed(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      this.#packed += piece.length;
      this.#options.onBytes?.(this.#packed);
      yield piece;
    }
  }

  async *unpacked(start: Buffer, stream: Readable): AsyncGenerator<Uint8Array> {
    yield this.#take(start);
    for await (const piece of stream as AsyncIterable<Buffer>) yield this.#take(piece);
  }

  #take(piece: Buffer): Buffer {
    this.#unpacked += piece.length;
    const { free = FREE, mostRatio } = this.#options;
    if (this.#unpacked > free && this.#unpacked > this.#packed * mostRatio) {
      const why = `it unpacks to more than ${mostRatio} times its size`;
      throw new GantryError("invalid", `cannot unpack the context: ${why}`);
    }
    return piece;
  }
}

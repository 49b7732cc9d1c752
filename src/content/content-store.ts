import { randomBytes } from "node:crypto";
import { closeSync, createReadStream, fstatSync, mkdirSync, openSync, readdirSync, rmSync, statSync } from "node:fs";
import { open, readdir, rename, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { pipeline, Readable } from "node:stream";
import { cancelled, cancelOnAbort, throwIfAborted } from "../base/abort.ts";
import { flushFolder, writeFileAtomic } from "../base/atomic-file.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { FreshFlight } from "../base/fresh-flight.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import { readWhole } from "../base/read-whole.ts";
import { Digester, DigestStream } from "../oci/digest.ts";
import { type Digest, parseDigest } from "../oci/digest-format.ts";
import type { Blob } from "./blob.ts";
import { PartialFile } from "./partial-blob.ts";
import { writeAll } from "./write-all.ts";

export type { Blob } from "./blob.ts";

/** What another thread writes; when it has come to its end the file is published, or it is discarded. */
export interface BlobDraft {
  /** An empty file. */
  readonly path: string;
  /** `digest` is that of all its bytes: whoever wrote them has seen to it. */
  publish(digest: Digest): Promise<Blob>;
  /** No error when it was published. */
  discard(): Promise<void>;
}

/** What a blob is meant to be: chooses Docker's words when its bytes turn out to be others. */
export type BlobRole = "layer" | "config" | "manifest";

export interface WriteOptions {
  /** Refused with `invalid` if the bytes have another. Without it the blob gets its sha256. */
  readonly digest?: Digest;
  /** Bytes; refused with `invalid` if there are more or fewer. */
  readonly size?: number;
  readonly role?: BlobRole;
  readonly signal?: AbortSignal;
  /** Bytes written so far. */
  readonly onProgress?: (bytes: number) => void;
}

const REFUSAL: Record<BlobRole, string> = {
  layer: "filesystem layer verification failed for digest",
  config: "image config verification failed for digest",
  manifest: "manifest verification failed for digest",
};
const SMALL = 64 << 10;
const ALGORITHMS = ["sha256", "sha512"] as const;
const BATCH = 1 << 20;
const PARTIAL = /^sha(?:256|512)-[a-f0-9]+\.part$/;
const DAY_MS = 24 * 60 * 60 * 1000;

/** Immutable blobs by digest, in the OCI image layout. A blob that can be seen is whole, verified and durable. */
export class ContentStore {
  readonly #root: string;
  readonly #ingest: string;
  readonly #lock = new KeyedLock();
  readonly #renames: Readonly<Record<string, FreshFlight>>;

  /** Makes the folders under `root` that are missing. One store a root: `recover` empties what others write. */
  constructor({ root }: { readonly root: string }) {
    this.#root = root;
    this.#ingest = join(root, "ingest");
    this.#renames = Object.fromEntries(
      ALGORITHMS.map((algorithm) => [algorithm, new FreshFlight(() => flushFolder(join(root, "blobs", algorithm)))]),
    );
    mkdirSync(this.#ingest, { recursive: true, mode: 0o711 });
    for (const algorithm of ALGORITHMS) mkdirSync(join(root, "blobs", algorithm), { recursive: true, mode: 0o711 });
    const layout = join(root, "oci-layout");
    if (statSync(layout, { throwIfNoEntry: false }) === undefined)
      writeFileAtomic(layout, '{"imageLayoutVersion":"1.0.0"}', { mode: 0o644 });
  }

  has(digest: Digest): boolean {
    return statSync(this.#path(digest), { throwIfNoEntry: false }) !== undefined;
  }

  /** Bytes; `not-found` if there is no such blob. */
  size(digest: Digest): number {
    const stat = statSync(this.#path(digest), { throwIfNoEntry: false });
    if (stat === undefined) throw missing(digest);
    return stat.size;
  }

  /** Where the blob's bytes are, for a thread that reads them itself; they are not to be changed. */
  locate(digest: Digest): string {
    return this.#path(digest);
  }

  /** Where a blob's bytes are while it grows; they are believed by nobody. */
  locatePartial(digest: Digest): string {
    return this.#partialPath(digest);
  }

  /**
   * The blob as a stream; `not-found` at once if there is none. With `verify` it is hashed again while it is read, and
   * fails at its end if the disk has changed it; `from` leaves out so many bytes. A blob deleted meanwhile is still
   * read to its end.
   */
  open(
    digest: Digest,
    options: { readonly verify?: false; readonly from?: number } | { readonly verify: true } = {},
  ): Readable {
    const start = options.verify === true ? 0 : (options.from ?? 0);
    const file = createReadStream("", { fd: this.#openFile(digest), highWaterMark: 1 << 18, start });
    if (options.verify !== true) return file;
    return pipeline(file, new DigestStream(digest), () => {
      // The error is the returned stream's own, or its reader's who destroyed it.
    });
  }

  /** A small blob whole, verified; `invalid` if it is longer than `limit` bytes or damaged. */
  async readBlob(digest: Digest, limit: number): Promise<Buffer> {
    const fd = this.#openFile(digest);
    const { size } = fstatSync(fd);
    if (size > limit) {
      closeSync(fd);
      throw new GantryError("invalid", `cannot read ${digest}: it is longer than ${limit} bytes`);
    }
    const chunks: Uint8Array[] = [];
    const digester = new Digester(parseDigest(digest).algorithm);
    const pieces = size <= SMALL ? readAndClose(fd, size) : (createReadStream("", { fd }) as AsyncIterable<Uint8Array>);
    for await (const chunk of pieces) {
      chunks.push(chunk);
      digester.update(chunk);
    }
    if (digester.digest() !== digest) throw new GantryError("invalid", `${REFUSAL.config} ${digest}`);
    return Buffer.concat(chunks);
  }

  /**
   * Stores a blob: hashed while it is written, durable and visible when this resolves, and nothing left of it when it
   * rejects. Of several at once for one digest the first writes and the others wait for it; if the blob is there
   * (already or then), `source` is closed unread. An abort rejects with `cancelled`.
   */
  async write(source: Readable | AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<Blob> {
    const { digest, signal } = options;
    const stream = source instanceof Readable ? source : Readable.from(source);
    // It may fail while this waits for another writer; reading it tells then, an unheard event would end the process.
    stream.on("error", () => {});
    try {
      if (digest === undefined) return await this.#ingestBlob(stream, options);
      return await this.#whenFree(digest, signal, () => this.#writeOnce(digest, stream, options));
    } finally {
      stream.destroy();
    }
  }

  async #writeOnce(digest: Digest, stream: Readable, options: WriteOptions): Promise<Blob> {
    const path = this.#path(digest);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return this.#ingestBlob(stream, options);
    // Young again, so that a collection that began before this call does not take it from under the caller.
    const now = new Date();
    await utimes(path, now, now);
    return { digest, size: stat.size };
  }

  /** Runs `act` under the digest's lock; an abort ends the wait for it, never `act` itself. */
  async #whenFree<T>(digest: Digest, signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const stop = (): void => reject(cancelled());
    signal?.addEventListener("abort", stop, { once: true });
    const task = this.#lock.run(digest, async () => {
      signal?.removeEventListener("abort", stop);
      throwIfAborted(signal);
      return act();
    });
    task.then(resolve, reject);
    return promise;
  }

  /** A file for a blob that another thread writes: nothing, also after a crash, until it is published. */
  async draft(): Promise<BlobDraft> {
    const path = join(this.#ingest, randomBytes(12).toString("hex"));
    const file = await open(path, "wx", 0o644);
    return {
      path,
      publish: async (digest) => {
        failpoint("content.write");
        try {
          await file.sync();
        } finally {
          await file.close();
        }
        failpoint("content.synced");
        return this.#publish(digest, path);
      },
      discard: async () => {
        await file.close();
        await rm(path, { force: true });
      },
    };
  }

  async writeBytes(bytes: Uint8Array, options: WriteOptions = {}): Promise<Blob> {
    return this.write(
      (async function* () {
        yield bytes;
      })(),
      options,
    );
  }

  /**
   * What has arrived of a blob that is being downloaded, to go on from; empty at first. Nobody else writes this blob
   * until the result is disposed of, which keeps its bytes for a day unless it was published or discarded.
   */
  async openPartial(digest: Digest, options: { readonly signal?: AbortSignal } = {}): Promise<PartialFile> {
    const opened = Promise.withResolvers<PartialFile>();
    const held = this.#whenFree(digest, options.signal, async () => {
      const released = Promise.withResolvers<void>();
      opened.resolve(
        await PartialFile.open(this.#partialPath(digest), {
          publish: (path) => this.#publish(digest, path),
          release: released.resolve,
        }),
      );
      await released.promise;
    });
    held.catch(opened.reject);
    return opened.promise;
  }

  /** Removes what downloads that failed have left to go on from, but for those under way; resolves with the bytes. */
  async removePartials(): Promise<number> {
    let bytes = 0;
    for (const name of await readdir(this.#ingest)) {
      if (!PARTIAL.test(name) || this.#lock.isHeld(name.replace("-", ":").replace(".part", ""))) continue;
      const path = join(this.#ingest, name);
      bytes += statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      await rm(path, { force: true });
    }
    return bytes;
  }

  /** No error if there is no such blob. */
  async delete(digest: Digest): Promise<void> {
    await this.#lock.run(digest, () => rm(this.#path(digest), { force: true }));
  }

  async list(): Promise<Blob[]> {
    const blobs: Blob[] = [];
    for (const algorithm of ALGORITHMS)
      for (const name of await readdir(join(this.#root, "blobs", algorithm))) {
        const stat = statSync(join(this.#root, "blobs", algorithm, name), { throwIfNoEntry: false });
        if (stat !== undefined) blobs.push({ digest: `${algorithm}:${name}`, size: stat.size });
      }
    return blobs;
  }

  /**
   * Call before the first write of a process: removes what a crash left half-written. Partial downloads of the last day
   * stay, to be gone on from.
   */
  recover(): void {
    for (const name of readdirSync(this.#ingest)) {
      const path = join(this.#ingest, name);
      const isKept = PARTIAL.test(name) && statSync(path).mtimeMs > Date.now() - DAY_MS;
      if (!isKept) rmSync(path, { recursive: true, force: true });
    }
  }

  /**
   * Deletes every blob that is not in `referenced`. Blobs written (or asked for by `write`) after `writtenBefore`, Unix
   * milliseconds, stay too: they may belong to a pull under way whose records come last.
   */
  async collect(
    referenced: ReadonlySet<Digest>,
    options: { readonly writtenBefore?: number } = {},
  ): Promise<{ readonly deleted: Digest[]; readonly bytes: number }> {
    const deleted: Digest[] = [];
    let bytes = 0;
    for (const { digest } of await this.list()) {
      if (referenced.has(digest)) continue;
      await this.#lock.run(digest, async () => {
        const stat = statSync(this.#path(digest), { throwIfNoEntry: false });
        if (stat === undefined || stat.mtimeMs >= (options.writtenBefore ?? Number.POSITIVE_INFINITY)) return;
        await rm(this.#path(digest), { force: true });
        deleted.push(digest);
        bytes += stat.size;
      });
    }
    return { deleted, bytes };
  }

  async #ingestBlob(source: Readable, options: WriteOptions): Promise<Blob> {
    const { digest, size, signal, onProgress } = options;
    const temp = join(this.#ingest, randomBytes(12).toString("hex"));
    const digester = new Digester(digest === undefined ? "sha256" : parseDigest(digest).algorithm);
    try {
      await using file = await open(temp, "wx", 0o644);
      let batch: Uint8Array[] = [];
      let batched = 0;
      const flush = async (): Promise<void> => {
        await writeAll(file, batch, batched);
        batch = [];
        batched = 0;
        onProgress?.(digester.size);
      };
      using _ = cancelOnAbort(signal, source);
      for await (const chunk of source as AsyncIterable<Uint8Array>) {
        throwIfAborted(signal);
        digester.update(chunk);
        if (size !== undefined && digester.size > size) throw wrongSize(digester.size, size);
        batch.push(chunk);
        batched += chunk.length;
        if (batched >= BATCH) await flush();
      }
      if (batched > 0) await flush();
      throwIfAborted(signal);
      if (size !== undefined && digester.size !== size) throw wrongSize(digester.size, size);
      const actual = digester.digest();
      if (digest !== undefined && actual !== digest)
        throw new GantryError("invalid", `${REFUSAL[options.role ?? "layer"]} ${digest}`);
      failpoint("content.write");
      await file.sync();
      failpoint("content.synced");
      await this.#publish(actual, temp);
      return { digest: actual, size: digester.size };
    } catch (error) {
      await rm(temp, { force: true });
      throwIfAborted(signal);
      if (hasCode(error, "ENOSPC", "EDQUOT"))
        throw new GantryError("internal", `cannot store ${digest ?? "blob"}: no space left on device`, {
          cause: error,
        });
      throw error;
    }
  }

  /** A file whose bytes are on the disk becomes the blob. */
  async #publish(digest: Digest, path: string): Promise<Blob> {
    const { size } = statSync(path);
    await rename(path, this.#path(digest));
    failpoint("content.renamed");
    await this.#renames[parseDigest(digest).algorithm]!.run();
    return { digest, size };
  }

  #partialPath(digest: Digest): string {
    const { algorithm, hex } = parseDigest(digest);
    return join(this.#ingest, `${algorithm}-${hex}.part`);
  }

  #openFile(digest: Digest): number {
    try {
      return openSync(this.#path(digest), "r");
    } catch (error) {
      if (hasCode(error, "ENOENT")) throw missing(digest);
      throw error;
    }
  }

  #path(digest: Digest): string {
    const { algorithm, hex } = parseDigest(digest);
    return join(this.#root, "blobs", algorithm, hex);
  }
}

/** Most manifests and configs: read in less time than it takes to have another thread read them. */
function readAndClose(fd: number, size: number): Buffer[] {
  try {
    return [readWhole(fd, size)];
  } finally {
    closeSync(fd);
  }
}

function missing(digest: Digest): GantryError {
  return new GantryError("not-found", `blob not found: ${digest}`);
}

function wrongSize(actual: number, expected: number): GantryError {
  return new GantryError("invalid", `unexpected commit size ${actual}, expected ${expected}`);
}

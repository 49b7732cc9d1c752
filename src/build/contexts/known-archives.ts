import { createHash } from "node:crypto";
import type { CacheUsage } from "../builder.ts";
import type { CacheHolder } from "../parts.ts";
import type { Root } from "../root.ts";

/** A longer archive goes to the disk while it comes, and is not looked for. */
const LONGEST = 8 << 20;
const MOST_UNPACKED = 64 << 20;
const MOST_KEPT = 8;
const SMALL = 4 << 10;
const GATHERED = 64 << 10;
const NOTHING = Buffer.alloc(0);

interface Known {
  readonly root: Root;
  readonly bytes: number;
  readonly createdAt: number;
  lastUsedAt: number;
  usageCount: number;
}

/** An archive that comes: all of it with its digest, or that it is longer than those that are looked for. */
export interface Arrived {
  readonly bytes: AsyncIterable<Uint8Array>;
  readonly digest: string | undefined;
}

/**
 * The files of archives that came lately, by the digest of their bytes: who sends the same again has nothing unpacked.
 * They go with the engine.
 */
export class KnownArchives implements CacheHolder {
  /** The one that was used last comes last. */
  readonly #known = new Map<string, Known>();

  /** A holder of its files; undefined if they aren't known. */
  find(digest: string): Root | undefined {
    const known = this.#known.get(idOf(digest));
    if (known === undefined) return undefined;
    this.#known.delete(idOf(digest));
    this.#known.set(idOf(digest), known);
    known.lastUsedAt = Date.now();
    known.usageCount++;
    return known.root.share();
  }

  /** Keeps the files, of which it takes a hold of its own; `bytes` are their length. */
  async keep(digest: string, root: Root, bytes: number): Promise<void> {
    if (bytes > MOST_UNPACKED || this.#known.has(idOf(digest))) return;
    const now = Date.now();
    this.#known.set(idOf(digest), {
      ...{ root: root.share(), bytes, createdAt: now, lastUsedAt: now },
      usageCount: 1,
    });
    const [oldest = ""] = this.#known.keys();
    if (this.#known.size > MOST_KEPT) await this.#drop(oldest);
  }

  async usage(): Promise<readonly CacheUsage[]> {
    return [...this.#known].map(([id, { bytes, createdAt, lastUsedAt, root, usageCount }]) => ({
      ...{ id, parents: [], type: "source.local", description: "files of an archive", shared: false },
      ...{ inUse: root.isShared === true, size: bytes, createdAt, lastUsedAt, usageCount },
    }));
  }

  async remove(id: string): Promise<number | undefined> {
    const known = this.#known.get(id);
    if (known === undefined || known.root.isShared) return undefined;
    await this.#drop(id);
    return known.bytes;
  }

  async #drop(id: string): Promise<void> {
    const known = this.#known.get(id);
    this.#known.delete(id);
    await known?.root[Symbol.asyncDispose]();
  }
}

/** Waits for all of an archive that is short. */
export async function arrived(bytes: AsyncIterable<Uint8Array>): Promise<Arrived> {
  const pieces: Uint8Array[] = [];
  // Small pieces take their places in one: each by itself costs more than its bytes.
  let gathered = NOTHING;
  let filled = 0;
  const flush = (): void => {
    if (filled > 0) pieces.push(gathered.subarray(0, filled));
    gathered = gathered.subarray(filled);
    filled = 0;
  };
  const add = (piece: Uint8Array): void => {
    if (piece.length >= SMALL) {
      flush();
      pieces.push(piece);
      return;
    }
    if (filled + piece.length > gathered.length) {
      flush();
      gathered = Buffer.allocUnsafe(GATHERED);
    }
    gathered.set(piece, filled);
    filled += piece.length;
  };
  let length = 0;
  const hash = createHash("sha256");
  const iterator = bytes[Symbol.asyncIterator]();
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) {
      flush();
      return { bytes: together(pieces, undefined), digest: hash.digest("hex") };
    }
    add(next.value);
    length += next.value.length;
    if (length > LONGEST) {
      flush();
      return { bytes: together(pieces, iterator), digest: undefined };
    }
    hash.update(next.value);
  }
}

async function* together(
  pieces: Uint8Array[],
  rest: AsyncIterator<Uint8Array> | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    while (pieces.length > 0) yield pieces.shift()!;
    for (let next = await rest?.next(); next !== undefined && next.done !== true; next = await rest?.next()) {
      yield next.value;
    }
  } finally {
    await rest?.return?.();
  }
}

function idOf(digest: string): string {
  return digest.slice(0, 32);
}

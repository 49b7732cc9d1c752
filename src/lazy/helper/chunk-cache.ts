import type { Chunk } from "./tree.ts";

/** Bytes of unpacked pieces that are kept: the kernel asks for a piece in several parts. */
const MOST = 64 << 20;

interface Row {
  readonly owner: object;
  readonly bytes: Promise<Buffer>;
  readonly size: number;
}

/** Pieces of files that were unpacked lately, each unpacked once however many ask for it. */
export class ChunkCache {
  readonly #rows = new Map<Chunk, Row>();
  #size = 0;

  /** `isPassing` asks for what fails where it can't be had at once: another must not be given its failure. */
  get(owner: object, chunk: Chunk, isPassing: boolean, load: () => Promise<Buffer>): Promise<Buffer> {
    const row = this.#rows.get(chunk);
    if (row !== undefined && !isPassing) {
      this.#rows.delete(chunk);
      this.#rows.set(chunk, row);
      return row.bytes;
    }
    const bytes = load();
    if (isPassing) return bytes;
    this.#rows.set(chunk, { owner, bytes, size: chunk.size });
    this.#size += chunk.size;
    bytes.catch(() => this.#drop(chunk));
    for (const oldest of this.#rows.keys()) {
      if (this.#size <= MOST || oldest === chunk) break;
      this.#drop(oldest);
    }
    return bytes;
  }

  forget(owner: object): void {
    for (const [chunk, row] of this.#rows) if (row.owner === owner) this.#drop(chunk);
  }

  #drop(chunk: Chunk): void {
    const row = this.#rows.get(chunk);
    if (row === undefined) return;
    this.#rows.delete(chunk);
    this.#size -= row.size;
  }
}

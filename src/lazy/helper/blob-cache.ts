import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { GantryError, hasCode } from "../../base/errors.ts";
import { dataRanges } from "../../kernel/holes.ts";

/** What is fetched and remembered at once. */
export const BLOCK = 128 << 10;
/** A request asks for at least so many blocks, and for at most so many. */
const LEAST_BLOCKS = 2;
const MOST_BLOCKS = 32;
const MOST_RANGES = 1 << 20;
/** After a disk was full. */
const FULL_MS = 5000;

export interface BlobCachePorts {
  readonly size: number;
  /** A sparse file for what was fetched. */
  readonly path: string;
  /** Where all of the blob may lie, and where its beginning grows: believed no more than the network. */
  readonly wholePath: string;
  readonly growingPath: string;
  /** Milliseconds within which each block of a request comes, or its waiters get an error. */
  readonly limitMs: number;
  readonly fetch: (from: number, to: number, signal: AbortSignal) => AsyncIterable<Buffer>;
  readonly onFetch: () => void;
}

/** Thrown where a part isn't here and its asker must not wait. */
export class NotHereError extends GantryError {}

/**
 * A blob of which any part can be read: from where the engine pulls it to, else from a sparse file of what was fetched,
 * else by ranges from its registry. Nothing here is verified.
 */
export class BlobCache {
  readonly #ports: BlobCachePorts;
  readonly #fd: number;
  readonly #has: Uint8Array;
  readonly #flights = new Map<number, Promise<void>>();
  readonly #closing = new AbortController();
  #whole: number | undefined;
  #growing: number | undefined;
  #looksNearby = true;
  /** Where the last request ended, and how many blocks it asked for at least. */
  #lastEnd = -1;
  /** Till then nothing is written any more, since there was no room. */
  #fullUntil = 0;
  #ahead = LEAST_BLOCKS;

  constructor(ports: BlobCachePorts) {
    this.#ports = ports;
    this.#fd = openSync(ports.path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#has = new Uint8Array(Math.ceil(ports.size / BLOCK));
    ftruncateSync(this.#fd, ports.size);
    this.#remember();
  }

  /** Bytes of the blob. With `local`, throws a `NotHereError` rather than wait for the network. */
  async read(from: number, to: number, options: { readonly local?: boolean } = {}): Promise<Buffer> {
    if (this.#closing.signal.aborted) throw new GantryError("cancelled", "the layer is not served any longer");
    const near = this.#nearby(to);
    if (near !== undefined) {
      const bytes = readAt(near, from, to);
      if (bytes !== undefined) return bytes;
    }
    if (options.local === true && !this.#hasRange(from, to)) {
      throw new NotHereError("unavailable", "it isn't here yet");
    }
    try {
      if (performance.now() < this.#fullUntil && !this.#hasRange(from, to)) return await this.#readPast(from, to);
      await this.#ensure(from, to);
    } catch (error) {
      if (!hasCode(error, "ENOSPC", "EDQUOT")) throw error;
      this.#fullUntil = performance.now() + FULL_MS;
      return await this.#readPast(from, to);
    }
    // Its number may be another file's by now.
    if (this.#closing.signal.aborted) throw new GantryError("cancelled", "the layer is not served any longer");
    const bytes = readAt(this.#fd, from, to);
    if (bytes === undefined) throw new GantryError("internal", "the cache was cut short");
    return bytes;
  }

  /** What was read of this part is wrong: it is fetched anew. */
  forget(from: number, to: number): void {
    for (let block = blockOf(from); block <= blockOf(to - 1); block++) this.#has[block] = 0;
    this.#leaveNearby();
  }

  close(): void {
    this.#closing.abort();
    this.#leaveNearby();
    closeSync(this.#fd);
  }

  /** What lies there is not looked at again. */
  #leaveNearby(): void {
    for (const fd of [this.#whole, this.#growing]) if (fd !== undefined) closeSync(fd);
    this.#whole = undefined;
    this.#growing = undefined;
    this.#looksNearby = false;
  }

  /** What an earlier server wrote; of what it was killed over the digests tell. */
  #remember(): void {
    for (const { offset, length } of dataRanges(this.#fd, this.#ports.size, MOST_RANGES) ?? []) {
      const end = offset + length;
      for (let block = Math.ceil(offset / BLOCK); block < this.#has.length; block++) {
        if (Math.min((block + 1) * BLOCK, this.#ports.size) > end) break;
        this.#has[block] = 1;
      }
    }
  }

  /** An open file of the blob that is long enough; it stays open when its name goes. */
  #nearby(to: number): number | undefined {
    if (!this.#looksNearby) return undefined;
    this.#whole ??= openIfThere(this.#ports.wholePath);
    if (this.#whole !== undefined) return this.#whole;
    this.#growing ??= openIfThere(this.#ports.growingPath);
    return this.#growing !== undefined && fstatSync(this.#growing).size >= to ? this.#growing : undefined;
  }

  #hasRange(from: number, to: number): boolean {
    for (let block = blockOf(from); block <= blockOf(to - 1); block++) if (this.#has[block] !== 1) return false;
    return true;
  }

  /** A part that there is no room for: who reads it again has it fetched again. */
  async #readPast(from: number, to: number): Promise<Buffer> {
    const limit = new BlockLimit(this.#ports.limitMs, this.#closing.signal);
    const bytes = Buffer.alloc(to - from);
    let got = 0;
    try {
      for await (const piece of this.#ports.fetch(from, to, limit.signal)) {
        const fresh = piece.subarray(0, bytes.length - got);
        bytes.set(fresh, got);
        if (blockOf(got) !== blockOf(got + fresh.length)) limit.renew();
        got += fresh.length;
      }
    } catch (error) {
      throw limit.blamed(error);
    } finally {
      limit.end();
    }
    if (got < bytes.length) throw new GantryError("unavailable", "unexpected EOF");
    return bytes;
  }

  async #ensure(from: number, to: number): Promise<void> {
    const last = blockOf(to - 1);
    const waits = new Set<Promise<void>>();
    let isOwn = false;
    for (let block = blockOf(from); block <= last; block++) {
      if (this.#has[block] === 1) continue;
      let flight = this.#flights.get(block);
      if (flight === undefined) {
        isOwn = true;
        flight = this.#depart(block, last);
      }
      waits.add(flight);
    }
    if (isOwn) this.#ports.onFetch();
    await Promise.all(waits);
  }

  /** Begins one request for a block and those behind it that are wanted, or are likely to be: more of who reads on. */
  #depart(first: number, wanted: number): Promise<void> {
    this.#ahead = first === this.#lastEnd ? Math.min(2 * this.#ahead, MOST_BLOCKS) : LEAST_BLOCKS;
    let end = first + 1;
    while (
      end < this.#has.length &&
      end - first < MOST_BLOCKS &&
      (end <= wanted || end - first < this.#ahead) &&
      this.#has[end] !== 1 &&
      !this.#flights.has(end)
    ) {
      end++;
    }
    this.#lastEnd = end;
    const gates = Array.from({ length: end - first }, () => Promise.withResolvers<void>());
    for (const [index, gate] of gates.entries()) {
      gate.promise.catch(() => {});
      this.#flights.set(first + index, gate.promise);
    }
    const arrive = (index: number): void => {
      this.#has[first + index] = 1;
      this.#flights.delete(first + index);
      gates[index]!.resolve();
    };
    void this.#fetch(first, end, arrive).catch((error: unknown) => {
      for (const [index, gate] of gates.entries()) {
        if (this.#flights.get(first + index) === gate.promise) this.#flights.delete(first + index);
        gate.reject(error);
      }
    });
    return gates[0]!.promise;
  }

  async #fetch(first: number, end: number, arrive: (index: number) => void): Promise<void> {
    const from = first * BLOCK;
    const to = Math.min(end * BLOCK, this.#ports.size);
    const limit = new BlockLimit(this.#ports.limitMs, this.#closing.signal);
    let at = from;
    let arrived = 0;
    try {
      for await (const piece of this.#ports.fetch(from, to, limit.signal)) {
        if (this.#closing.signal.aborted) throw new GantryError("cancelled", "the layer is not served any longer");
        const fresh = piece.subarray(0, to - at);
        for (let put = 0; put < fresh.length; ) put += writeSync(this.#fd, fresh, put, fresh.length - put, at + put);
        at += fresh.length;
        while (first + arrived < end && Math.min((first + arrived + 1) * BLOCK, to) <= at) {
          arrive(arrived++);
          limit.renew();
        }
      }
    } catch (error) {
      throw limit.blamed(error);
    } finally {
      limit.end();
    }
    if (at < to) throw new GantryError("unavailable", "unexpected EOF");
  }
}

/** Aborts a request of which no further block came within a time: what drips is not waited for. */
class BlockLimit {
  readonly signal: AbortSignal;
  readonly #closing: AbortSignal;
  readonly #limitMs: number;
  readonly #late = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(limitMs: number, closing: AbortSignal) {
    this.#limitMs = limitMs;
    this.#closing = closing;
    this.#timer = setTimeout(() => this.#late.abort(), limitMs);
    this.signal = AbortSignal.any([this.#late.signal, closing]);
  }

  renew(): void {
    this.#timer.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  /** What a request failed for, if it was by this. */
  blamed(error: unknown): unknown {
    if (!this.#late.signal.aborted || this.#closing.aborted) return error;
    return new GantryError("unavailable", `nothing came within ${this.#limitMs / 1000} seconds`, { cause: error });
  }
}

function blockOf(offset: number): number {
  return Math.floor(offset / BLOCK);
}

function readAt(fd: number, from: number, to: number): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(to - from);
  let got = 0;
  while (got < bytes.length) {
    const count = readSync(fd, bytes, got, bytes.length - got, from + got);
    if (count === 0) return undefined;
    got += count;
  }
  return bytes;
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

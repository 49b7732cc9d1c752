import { dirname } from "node:path";
import { cancelled, throwIfAborted } from "../../base/abort.ts";
import { GantryError, hasCode, isKind, messageOf } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import { giveBackSlab } from "../../base/slabs.ts";
import type { ContentStore } from "../../content/content-store.ts";
import type { PartialBlob } from "../../content/partial-blob.ts";
import type { LayerDraft, Snapshotter } from "../../snapshots/snapshotter.ts";
import type { ClaimScope, Claims } from "../claims.ts";
import type { LayerSettings, LayerSource, LayerStep, LayerWish, OpenBlob } from "../ports.ts";
import type { LayerRecord } from "../record.ts";
import { Flight } from "./flight.ts";
import { Slots } from "./slots.ts";
import { requireSpace } from "./space.ts";
import type { Unpacked } from "./unpack-messages.ts";
import { errorOf, type Unpacking, UnpackThreads } from "./unpack-threads.ts";

export interface LayerPorts {
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly claims: Claims;
  /** Bytes of the files of a committed layer. */
  readonly sizeOf: (chainId: string) => Promise<number>;
  /** Whether an image's record says that a blob unpacks to this diff id. */
  readonly isRecorded?: (digest: string, diffId: string) => boolean;
  readonly settings: () => LayerSettings;
  /** Path of worker.ts, or of what it was bundled to. */
  readonly workerScript: string;
}

/** Bytes that are gathered to one write, and told to the thread that reads them. */
const BATCH = 1 << 20;
const LOOK = 16 << 20;
const TELL_MS = 100;
const MOST_VERIFIED = 10_000;
const NO_SPACE = ["ENOSPC", "EDQUOT"];
const BROKEN_DISK = [...NO_SPACE, "EIO", "EROFS"];

type Work = Flight<LayerRecord>;

/**
 * Brings layers: downloads, verifies and extracts each once, however many ask for it. This thread moves bytes from the
 * socket into a file; others read that file as it grows. One an engine.
 */
export class LayerFetcher implements LayerSource {
  readonly #ports: LayerPorts;
  readonly #threads: UnpackThreads;
  readonly #slots: Slots;
  readonly #flights = new Map<string, Work>();
  /** Chains that somebody is extracting. */
  readonly #extracting = new Map<string, Promise<void>>();
  /** Blobs with the diff ids that they were found to unpack to. */
  readonly #verified = new Set<string>();

  constructor(ports: LayerPorts) {
    this.#ports = ports;
    this.#threads = new UnpackThreads(ports.workerScript);
    this.#slots = new Slots(() => ports.settings().maxDownloads);
  }

  /**
   * Makes sure of a layer's blob and snapshot, which belong to `scope` from now on: downloads, going on from what is
   * there, verifies digest, size and diff id, extracts while it arrives and commits over the parent. All of it is on
   * the disk when this resolves. Errors: `invalid` if it isn't the layer that was asked for; what `open` throws.
   */
  async fetch(
    scope: ClaimScope,
    wish: LayerWish,
    open: OpenBlob,
    options: {
      readonly signal?: AbortSignal;
      readonly onProgress?: (step: LayerStep, current: number, total: number) => void;
    } = {},
  ): Promise<LayerRecord> {
    const { chainId, descriptor, diffId } = wish;
    scope.claimChain(chainId);
    scope.noteBlob(descriptor.digest);
    // It may fail long before anybody waits for it.
    wish.parentReady.catch(() => {});
    throwIfAborted(options.signal);
    const key = `${descriptor.digest} ${descriptor.size} ${chainId} ${diffId}`;
    let isOwn = false;
    const own: OpenBlob = (...asked) => {
      isOwn = true;
      return open(...asked);
    };
    for (;;) {
      const flight = this.#flights.get(key) ?? this.#depart(key, wish);
      try {
        const record = await flight.join({ wish, open: own, signal: options.signal, onProgress: options.onProgress });
        return { ...record, blob: descriptor };
      } catch (error) {
        // What another asker's registry refused him or had wrong says nothing of this one's.
        if (isOwn || !flight.hasLostWay || options.signal?.aborted === true) throw error;
      }
    }
  }

  /** Ends the threads; what is under way fails with `cancelled`. */
  async close(): Promise<void> {
    await this.#threads.close();
  }

  #depart(key: string, wish: LayerWish): Work {
    const flight: Work = new Flight();
    this.#flights.set(key, flight);
    const forget = (): void => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    flight.signal.addEventListener("abort", forget, { once: true });
    flight.begin(async () => {
      try {
        // After the first asker is aboard.
        await Promise.resolve();
        return await this.#bring(flight, wish);
      } catch (error) {
        throwIfAborted(flight.signal);
        throw translated(error, wish.descriptor.digest);
      } finally {
        forget();
      }
    });
    return flight;
  }

  async #bring(flight: Work, wish: LayerWish): Promise<LayerRecord> {
    const { snapshots } = this.#ports;
    const { chainId, descriptor } = wish;
    const { size } = descriptor;
    if (this.#has(wish) && snapshots.has(chainId)) {
      await this.#verifyStored(flight, wish);
      flight.tell("exists", size, size);
      return this.#record(wish);
    }
    const extraction = this.#claimExtraction(chainId);
    try {
      const extracted = this.#has(wish)
        ? undefined
        : await this.#download(flight, wish, extraction !== undefined && snapshots.extractsAlone);
      if (extracted !== undefined) await this.#commit(flight, wish, extracted);
      else if (extraction !== undefined) await this.#extractStored(flight, wish);
    } finally {
      extraction?.end();
    }
    await this.#awaitOthers(flight, wish);
    await this.#verifyStored(flight, wish);
    flight.tell("done", size, size);
    return this.#record(wish);
  }

  /** Whether the blob is there; refuses one that is of another size than was told. */
  #has({ descriptor: { digest, size } }: LayerWish): boolean {
    const { content } = this.#ports;
    if (!content.has(digest)) return false;
    const actual = content.size(digest);
    if (actual === size) return true;
    throw new GantryError("invalid", `${refusalOf(digest)}: it has ${actual} bytes where ${size} were told`);
  }

  /** A blob and a snapshot that are both there need not belong together: whoever wrote the manifest only says so. */
  async #verifyStored(flight: Work, wish: LayerWish): Promise<void> {
    const { content, isRecorded } = this.#ports;
    const { descriptor, diffId } = wish;
    const { digest, size } = descriptor;
    if (this.#verified.has(pairOf(wish)) || isRecorded?.(digest, diffId) === true) return;
    const unpacking = this.#unpack(flight, wish, content.locate(digest), undefined, true);
    const stop = (): void => void unpacking.abort();
    flight.signal.addEventListener("abort", stop, { once: true });
    try {
      unpacking.offer(size);
      this.#check(wish, await unpacking.done);
    } finally {
      flight.signal.removeEventListener("abort", stop);
    }
  }

  /** Refuses what isn't the layer that was asked for, and remembers what is. */
  #check(wish: LayerWish, unpacked: Unpacked): void {
    check(wish, unpacked);
    if (this.#verified.size >= MOST_VERIFIED) this.#verified.clear();
    this.#verified.add(pairOf(wish));
  }

  /** Undefined if the snapshot is there, or if somebody else is about to extract it. */
  #claimExtraction(chainId: string): { end(): void } | undefined {
    if (this.#ports.snapshots.has(chainId) || this.#extracting.has(chainId)) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#extracting.set(chainId, promise);
    return {
      end: () => {
        this.#extracting.delete(chainId);
        resolve();
      },
    };
  }

  /** Another flight had the same chain by another blob: if it failed this one extracts its own. */
  async #awaitOthers(flight: Work, wish: LayerWish): Promise<void> {
    const { snapshots } = this.#ports;
    while (!snapshots.has(wish.chainId)) {
      const extraction = this.#claimExtraction(wish.chainId);
      if (extraction === undefined) {
        await untilAborted(this.#extracting.get(wish.chainId), flight.signal);
        continue;
      }
      try {
        await this.#extractStored(flight, wish);
      } finally {
        extraction.end();
      }
    }
  }

  /** Stores the blob. With `extracts`, resolves with what it was extracted to. */
  async #download(flight: Work, wish: LayerWish, extracts: boolean): Promise<Extraction | undefined> {
    const { content, snapshots } = this.#ports;
    const { digest } = wish.descriptor;
    await using partial = await content.openPartial(digest, { signal: flight.signal });
    // Another flight, with the same blob for another chain, may have brought it meanwhile.
    if (this.#has(wish)) return undefined;
    await using stack = new AsyncDisposableStack();
    const extraction = await this.#receive(flight, wish, partial, extracts, stack);
    // One sync brings all that layers have written meanwhile to the disk, this blob among it.
    await snapshots.sync();
    failpoint("layers.synced");
    await partial.publish({ synced: true });
    stack.move();
    return extraction;
  }

  async #receive(
    flight: Work,
    wish: LayerWish,
    partial: PartialBlob,
    extracts: boolean,
    stack: AsyncDisposableStack,
  ): Promise<Extraction | undefined> {
    const { digest, size } = wish.descriptor;
    if (this.#slots.isFull) flight.tell("waiting", 0, size);
    using _slot = await this.#slots.take(flight.signal);
    if (partial.size > size) await partial.restart();
    let isResumed = partial.size > 0;
    for (;;) {
      try {
        const draft = extracts ? await this.#ports.snapshots.draft(undefined) : undefined;
        await using undo = new AsyncDisposableStack();
        undo.defer(async () => draft?.discard());
        const unpacked = await this.#receiveOnce(flight, wish, partial, draft);
        if (unpacked.digest !== digest && isResumed) {
          // What an earlier download left was no beginning of this blob.
          await partial.restart();
          isResumed = false;
          continue;
        }
        try {
          flight.hasLostWay = unpacked.digest !== digest;
          this.#check(wish, unpacked);
        } catch (error) {
          // Nothing to go on from.
          await partial.discard();
          throw error;
        }
        const moved = undo.move();
        stack.defer(() => moved.disposeAsync());
        return draft && { draft, unpacked };
      } catch (error) {
        // Others need the space more than this does.
        if (hasCode(error, ...BROKEN_DISK)) await partial.discard();
        throw error;
      }
    }
  }

  async #receiveOnce(
    flight: Work,
    wish: LayerWish,
    partial: PartialBlob,
    draft: LayerDraft | undefined,
  ): Promise<Unpacked> {
    const { size } = wish.descriptor;
    const unpacking = this.#unpack(flight, wish, partial.path, draft, false);
    const failed = new AbortController();
    // A thread that can't go on ends the download.
    unpacking.done.catch((error: unknown) => failed.abort(error));
    try {
      unpacking.offer(partial.size);
      await this.#pour(flight, wish, partial, unpacking, AbortSignal.any([flight.signal, failed.signal]));
      flight.tell("verifying", size, size);
      return await untilAborted(unpacking.done, flight.signal);
    } catch (error) {
      await unpacking.abort();
      throwIfAborted(flight.signal);
      if (failed.signal.aborted && !isKind(failed.signal.reason, "cancelled")) throw failed.signal.reason;
      throw error;
    }
  }

  /** From the sockets into the file. Another asker's way is tried where one fails. */
  async #pour(
    flight: Work,
    wish: LayerWish,
    partial: PartialBlob,
    unpacking: Unpacking,
    signal: AbortSignal,
  ): Promise<void> {
    const tried = new Set<OpenBlob>();
    while (partial.size < wish.descriptor.size) {
      const open = flight.opens.find((one) => !tried.has(one));
      if (open === undefined) throw cancelled();
      tried.add(open);
      try {
        await this.#pourFrom(flight, wish, partial, unpacking, open, signal);
        return;
      } catch (error) {
        const isLast = flight.opens.every((one) => tried.has(one));
        flight.hasLostWay = !hasCode(error, ...BROKEN_DISK);
        if (isLast || signal.aborted || isKind(error, "invalid") || hasCode(error, ...BROKEN_DISK)) throw error;
      }
    }
  }

  async #pourFrom(
    flight: Work,
    wish: LayerWish,
    partial: PartialBlob,
    unpacking: Unpacking,
    open: OpenBlob,
    signal: AbortSignal,
  ): Promise<void> {
    const { digest, size } = wish.descriptor;
    const what = `cannot download layer ${digest}`;
    let batch: Buffer[] = [];
    let batched = 0;
    let looked = 0;
    let told = 0;
    const flush = async (): Promise<void> => {
      if (partial.size >= looked) {
        await requireSpace(dirname(partial.path), what);
        looked = partial.size + LOOK;
      }
      const pieces = batch;
      batch = [];
      batched = 0;
      await partial.append(pieces);
      for (const piece of pieces) giveBackSlab(piece);
      unpacking.offer(partial.size);
      const now = performance.now();
      if (now - told < TELL_MS) return;
      told = now;
      flight.tell("downloading", partial.size, size);
    };
    flight.tell("downloading", partial.size, size);
    try {
      for await (const piece of open(wish.descriptor, partial.size, signal)) {
        throwIfAborted(signal);
        batch.push(piece);
        batched += piece.length;
        if (partial.size + batched > size) {
          throw new GantryError("invalid", `${refusalOf(digest)}: there are more than its ${size} bytes`);
        }
        if (batched >= BATCH) await flush();
      }
    } finally {
      // What has come is kept for the next try, also when the rest does not come.
      if (batched > 0 && partial.size + batched <= size && !signal.aborted) await flush();
    }
    throwIfAborted(signal);
    if (partial.size < size) {
      throw new GantryError("unavailable", `${what}: unexpected EOF after ${partial.size} of ${size} bytes`);
    }
  }

  #unpack(
    flight: Work,
    { descriptor, diffId }: LayerWish,
    path: string,
    draft: LayerDraft | undefined,
    isVerified: boolean,
  ): Unpacking {
    const { digest, size } = descriptor;
    const order = {
      path,
      digest,
      size,
      diffId,
      isVerified,
      target: draft && { folder: draft.folder, whiteouts: draft.whiteouts },
      maxRatio: this.#ports.settings().maxUnpackRatio,
    };
    let isWhole = isVerified;
    return this.#threads.begin(order, (read) => {
      // While bytes arrive it is their number that is told.
      isWhole ||= flight.step === "verifying";
      if (!isWhole) return;
      if (flight.step === "verifying") flight.tell("downloaded", size, size);
      flight.tell("extracting", read, size);
    });
  }

  /** Extracts a blob of the content store: one that others brought, or where extraction needs the parent first. */
  async #extractStored(flight: Work, wish: LayerWish): Promise<void> {
    const { content, snapshots } = this.#ports;
    if (!snapshots.extractsAlone) await untilAborted(flight.parentReady, flight.signal);
    throwIfAborted(flight.signal);
    const draft = await snapshots.draft(snapshots.extractsAlone ? undefined : wish.parent);
    try {
      const { digest, size } = wish.descriptor;
      const unpacking = this.#unpack(flight, wish, content.locate(digest), draft, true);
      const stop = (): void => void unpacking.abort();
      flight.signal.addEventListener("abort", stop, { once: true });
      try {
        flight.tell("extracting", 0, size);
        unpacking.offer(size);
        const unpacked = await unpacking.done;
        this.#check(wish, unpacked);
        await snapshots.sync();
        await this.#commit(flight, wish, { draft, unpacked });
      } finally {
        flight.signal.removeEventListener("abort", stop);
      }
    } finally {
      await draft.discard();
    }
  }

  async #commit(flight: Work, wish: LayerWish, { draft, unpacked }: Extraction): Promise<void> {
    const { claims } = this.#ports;
    try {
      await untilAborted(flight.parentReady, flight.signal);
      throwIfAborted(flight.signal);
      await claims.exclusively(wish.chainId, () => draft.commit(wish.chainId, wish.parent, unpacked));
      failpoint("layers.committed");
    } finally {
      await draft.discard();
    }
  }

  async #record({ chainId, descriptor, diffId }: LayerWish): Promise<LayerRecord> {
    return { blob: descriptor, diffId, chainId, size: await this.#ports.sizeOf(chainId) };
  }
}

interface Extraction {
  readonly draft: LayerDraft;
  readonly unpacked: Unpacked;
}

function pairOf({ descriptor, diffId }: LayerWish): string {
  return `${descriptor.digest} ${diffId}`;
}

function check({ descriptor, diffId }: LayerWish, unpacked: Unpacked): void {
  if (unpacked.digest !== descriptor.digest) throw new GantryError("invalid", refusalOf(descriptor.digest));
  const { refusal } = unpacked;
  if (refusal !== undefined) {
    const layer = `cannot extract layer ${descriptor.digest}: `;
    const message = refusal.message.startsWith(layer) ? refusal.message : `${layer}${refusal.message}`;
    throw errorOf({ ...refusal, message });
  }
  if (unpacked.diffId !== diffId) {
    throw new GantryError("invalid", "layers from manifest don't match image configuration");
  }
}

function refusalOf(digest: string): string {
  return `filesystem layer verification failed for digest ${digest}`;
}

/** What the disk said, in a sentence; anything else as it is. */
function translated(error: unknown, digest: string): unknown {
  if (error instanceof GantryError || !hasCode(error, ...BROKEN_DISK)) return error;
  const why = hasCode(error, ...NO_SPACE) ? "no space left on device" : messageOf(error);
  const said = new GantryError("internal", `cannot store layer ${digest}: ${why}`, { cause: error });
  return Object.assign(said, { code: (error as { code: string }).code });
}

/** Waits no longer than until the signal comes. */
async function untilAborted<T>(promise: Promise<T> | undefined, signal: AbortSignal): Promise<T> {
  throwIfAborted(signal);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(cancelled());
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([promise as Promise<T>, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

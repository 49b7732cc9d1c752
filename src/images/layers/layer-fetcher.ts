import { throwIfAborted, untilAborted } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { ContentStore } from "../../content/content-store.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { ClaimScope, Claims } from "../claims.ts";
import { timed } from "../layer-time.ts";
import type { LayerSource, LayerStep, LayerWish, OpenBlob } from "../ports.ts";
import type { LayerRecord } from "../record.ts";
import { Slots } from "../slots.ts";
import { diskError } from "./disk-error.ts";
import { Flight } from "./flight.ts";
import { LayerDownload } from "./layer-download.ts";
import { type Extraction, LayerUnpacker, type LayerUnpackerPorts, verificationFailed } from "./layer-unpacker.ts";

export interface LayerPorts extends LayerUnpackerPorts {
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly claims: Claims;
  /** Bytes of the files of a committed layer. */
  readonly sizeOf: (chainId: string) => Promise<number>;
}

type Work = Flight<LayerRecord>;

/**
 * Brings layers: downloads, verifies and extracts each once, however many ask for it. This thread moves bytes from the
 * socket into a file; others read that file as it grows. One an engine.
 */
export class LayerFetcher implements LayerSource {
  readonly #ports: LayerPorts;
  readonly #unpacker: LayerUnpacker;
  readonly #slots: Slots;
  readonly #flights = new Map<string, Work>();
  /** Chains that somebody is extracting. */
  readonly #extracting = new Map<string, Promise<void>>();

  constructor(ports: LayerPorts) {
    this.#ports = ports;
    this.#unpacker = new LayerUnpacker(ports);
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
    await this.#unpacker.close();
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
        throw diskError(error, wish.descriptor.digest);
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
    throw new GantryError("invalid", `${verificationFailed(digest)}: it has ${actual} bytes where ${size} were told`);
  }

  /** A blob and a snapshot that are both there need not belong together: whoever wrote the manifest only says so. */
  async #verifyStored(flight: Work, wish: LayerWish): Promise<void> {
    if (this.#unpacker.knows(wish)) return;
    await this.#unpacker.unpackStored(flight, wish, this.#ports.content.locate(wish.descriptor.digest), undefined);
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
        await untilAborted(this.#extracting.get(wish.chainId) ?? Promise.resolve(), flight.signal);
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
    const download = new LayerDownload(
      { snapshots, unpacker: this.#unpacker, slots: this.#slots, times: this.#ports.times },
      flight,
      wish,
      partial,
    );
    const extraction = await download.run({ extracts });
    try {
      // One sync brings all that layers have written meanwhile to the disk, this blob among it.
      await this.#sync();
      failpoint("layers.synced");
      await timed(this.#ports.times, "commit", () => partial.publish({ synced: true }));
    } catch (error) {
      await extraction?.draft.discard();
      throw error;
    }
    return extraction;
  }

  /** Extracts a blob of the content store: one that others brought, or where extraction needs the parent first. */
  async #extractStored(flight: Work, wish: LayerWish): Promise<void> {
    const { content, snapshots } = this.#ports;
    if (!snapshots.extractsAlone) await untilAborted(flight.parentReady, flight.signal);
    throwIfAborted(flight.signal);
    const draft = await snapshots.draft(snapshots.extractsAlone ? undefined : wish.parent);
    try {
      const { digest, size } = wish.descriptor;
      flight.tell("extracting", 0, size);
      const unpacked = await this.#unpacker.unpackStored(flight, wish, content.locate(digest), draft);
      await this.#sync();
      await this.#commit(flight, wish, { draft, unpacked });
    } finally {
      await draft.discard();
    }
  }

  async #commit(flight: Work, wish: LayerWish, { draft, unpacked }: Extraction): Promise<void> {
    const { claims, times } = this.#ports;
    try {
      await timed(times, "parent", () => untilAborted(flight.parentReady, flight.signal));
      throwIfAborted(flight.signal);
      const commit = () => draft.commit(wish.chainId, wish.parent, unpacked);
      await timed(times, "commit", () => claims.exclusively(wish.chainId, commit));
      failpoint("layers.committed");
    } finally {
      await draft.discard();
    }
  }

  #sync(): Promise<void> {
    return timed(this.#ports.times, "sync", () => this.#ports.snapshots.sync());
  }

  async #record({ chainId, descriptor, diffId }: LayerWish): Promise<LayerRecord> {
    return { blob: descriptor, diffId, chainId, size: await this.#ports.sizeOf(chainId) };
  }
}

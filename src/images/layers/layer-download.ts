import { dirname } from "node:path";
import { cancelled, throwIfAborted, untilAborted } from "../../base/abort.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import { giveBackSlab } from "../../base/slabs.ts";
import type { PartialBlob } from "../../content/partial-blob.ts";
import type { LayerDraft, Snapshotter } from "../../snapshots/snapshotter.ts";
import { type LayerTimes, timed } from "../layer-time.ts";
import type { LayerWish, OpenBlob } from "../ports.ts";
import type { LayerRecord } from "../record.ts";
import type { Slots } from "../slots.ts";
import { isDiskError } from "./disk-error.ts";
import type { Flight } from "./flight.ts";
import { type Extraction, type LayerUnpacker, verificationFailed } from "./layer-unpacker.ts";
import { requireSpace } from "./space.ts";
import type { Unpacked } from "./unpack-messages.ts";
import type { Unpacking } from "./unpack-threads.ts";

/** Bytes that are gathered to one write, and told to the thread that reads them. */
const BATCH = 1 << 20;
/** Bytes written between two looks at the free space. */
const LOOK = 16 << 20;
const TELL_MS = 100;

export interface LayerDownloadPorts {
  readonly snapshots: Snapshotter;
  readonly unpacker: LayerUnpacker;
  readonly slots: Slots;
  readonly times: LayerTimes | undefined;
}

/** One flight's download: from sockets into a partial blob, which a thread reads, verifies and extracts as it grows. */
export class LayerDownload {
  readonly #ports: LayerDownloadPorts;
  readonly #flight: Flight<LayerRecord>;
  readonly #wish: LayerWish;
  readonly #partial: PartialBlob;

  constructor(ports: LayerDownloadPorts, flight: Flight<LayerRecord>, wish: LayerWish, partial: PartialBlob) {
    this.#ports = ports;
    this.#flight = flight;
    this.#wish = wish;
    this.#partial = partial;
  }

  /**
   * Resolves when the partial blob is whole and verified, with what it was extracted to if that was wanted. What a
   * failure leaves of it may be gone on from; it is discarded where it isn't the blob, or the disk can't hold it.
   */
  async run({ extracts }: { readonly extracts: boolean }): Promise<Extraction | undefined> {
    const { digest, size } = this.#wish.descriptor;
    const partial = this.#partial;
    if (this.#ports.slots.isFull) this.#flight.tell("waiting", 0, size);
    using _slot = await timed(this.#ports.times, "slot", () => this.#ports.slots.take(this.#flight.signal));
    if (partial.size > size) await partial.restart();
    const isResumed = partial.size > 0;
    try {
      let received = await this.#receive(extracts);
      if (received.unpacked.digest !== digest && isResumed) {
        // What an earlier download left was no beginning of this blob.
        await received.draft?.discard();
        await partial.restart();
        received = await this.#receive(extracts);
      }
      const { draft, unpacked } = received;
      await this.#judge(draft, unpacked);
      return draft && { draft, unpacked };
    } catch (error) {
      // Others need the space more than this does.
      if (isDiskError(error)) await partial.discard();
      throw error;
    }
  }

  /** Refuses what isn't the layer; nothing of it can be gone on from. */
  async #judge(draft: LayerDraft | undefined, unpacked: Unpacked): Promise<void> {
    this.#flight.hasLostWay = unpacked.digest !== this.#wish.descriptor.digest;
    try {
      this.#ports.unpacker.check(this.#wish, unpacked);
    } catch (error) {
      await draft?.discard();
      await this.#partial.discard();
      throw error;
    }
  }

  async #receive(extracts: boolean): Promise<{ draft: LayerDraft | undefined; unpacked: Unpacked }> {
    const draft = extracts ? await this.#ports.snapshots.draft(undefined) : undefined;
    try {
      return { draft, unpacked: await this.#receiveInto(draft) };
    } catch (error) {
      await draft?.discard();
      throw error;
    }
  }

  async #receiveInto(draft: LayerDraft | undefined): Promise<Unpacked> {
    const flight = this.#flight;
    const { size } = this.#wish.descriptor;
    const source = { path: this.#partial.path, draft, isVerified: false };
    const unpacking = this.#ports.unpacker.begin(flight, this.#wish, source);
    const failed = new AbortController();
    // A thread that can't go on ends the download.
    unpacking.done.catch((error: unknown) => failed.abort(error));
    try {
      unpacking.offer(this.#partial.size);
      await this.#pour(unpacking, AbortSignal.any([flight.signal, failed.signal]));
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
  async #pour(unpacking: Unpacking, signal: AbortSignal): Promise<void> {
    const flight = this.#flight;
    const tried = new Set<OpenBlob>();
    while (this.#partial.size < this.#wish.descriptor.size) {
      const open = flight.opens.find((one) => !tried.has(one));
      if (open === undefined) throw cancelled();
      tried.add(open);
      try {
        await this.#pourFrom(open, unpacking, signal);
        return;
      } catch (error) {
        const isLast = flight.opens.every((one) => tried.has(one));
        flight.hasLostWay = !isDiskError(error);
        if (isLast || signal.aborted || isKind(error, "invalid") || isDiskError(error)) throw error;
      }
    }
  }

  async #pourFrom(open: OpenBlob, unpacking: Unpacking, signal: AbortSignal): Promise<void> {
    const partial = this.#partial;
    const { digest, size } = this.#wish.descriptor;
    const what = `cannot download layer ${digest}`;
    const { times } = this.#ports;
    let waitingSince = performance.now();
    let batch: Buffer[] = [];
    let batched = 0;
    let looked = 0;
    let told = 0;
    const store = async (): Promise<void> => {
      if (partial.size >= looked) {
        await requireSpace(dirname(partial.path), what);
        looked = partial.size + LOOK;
      }
      const pieces = batch;
      times?.moved("received", batched);
      batch = [];
      batched = 0;
      await partial.append(pieces);
      for (const piece of pieces) giveBackSlab(piece);
      unpacking.offer(partial.size);
      const now = performance.now();
      if (now - told < TELL_MS) return;
      told = now;
      this.#flight.tell("downloading", partial.size, size);
    };
    const flush = async (): Promise<void> => {
      times?.spent("network", performance.now() - waitingSince);
      await timed(times, "store", store);
      waitingSince = performance.now();
    };
    this.#flight.tell("downloading", partial.size, size);
    try {
      for await (const piece of open(this.#wish.descriptor, partial.size, signal)) {
        throwIfAborted(signal);
        batch.push(piece);
        batched += piece.length;
        if (partial.size + batched > size) {
          throw new GantryError("invalid", `${verificationFailed(digest)}: there are more than its ${size} bytes`);
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
}

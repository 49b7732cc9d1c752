import { GantryError } from "../../base/errors.ts";
import { errorOf } from "../../base/failure.ts";
import type { LayerDraft } from "../../snapshots/snapshotter.ts";
import { type LayerTimes, THREAD_PARTS } from "../layer-time.ts";
import type { LayerSettings, LayerWish } from "../ports.ts";
import type { LayerRecord } from "../record.ts";
import type { Flight } from "./flight.ts";
import type { Unpacked } from "./unpack-messages.ts";
import { type Unpacking, UnpackThreads } from "./unpack-threads.ts";

export interface LayerUnpackerPorts {
  /** Path of worker.ts, or of what it was bundled to. */
  readonly workerScript: string;
  readonly settings: () => LayerSettings;
  /** Whether an image's record says that a blob unpacks to this diff id. */
  readonly isRecorded?: (digest: string, diffId: string) => boolean;
  readonly times?: LayerTimes | undefined;
}

/** A file with a layer's blob, and where the layer goes. */
export interface UnpackSource {
  readonly path: string;
  /** Undefined only verifies. */
  readonly draft: LayerDraft | undefined;
  /** The blob's digest is known to be the right one. */
  readonly isVerified: boolean;
}

/** Layers that were extracted, and what they turned out to be. */
export interface Extraction {
  readonly draft: LayerDraft;
  readonly unpacked: Unpacked;
}

const MOST_VERIFIED = 10_000;

/** Has blobs unpacked by threads, says whether they are the layers that were asked for, and remembers which are. */
export class LayerUnpacker {
  readonly #ports: LayerUnpackerPorts;
  readonly #threads: UnpackThreads;
  /** Blobs with the diff ids that they were found to unpack to. */
  readonly #verified = new Set<string>();

  constructor(ports: LayerUnpackerPorts) {
    this.#ports = ports;
    this.#threads = new UnpackThreads(ports.workerScript);
  }

  /** Ends the threads; what is under way fails with `cancelled`. */
  async close(): Promise<void> {
    await this.#threads.close();
  }

  /** Whether the blob is known to unpack to the diff id. */
  knows({ descriptor: { digest }, diffId }: LayerWish): boolean {
    return this.#verified.has(pairOf(digest, diffId)) || this.#ports.isRecorded?.(digest, diffId) === true;
  }

  /** Begins with a file that may still grow; the flight is told of what is extracted once all of it has come. */
  begin(flight: Flight<LayerRecord>, wish: LayerWish, { path, draft, isVerified }: UnpackSource): Unpacking {
    const { digest, size } = wish.descriptor;
    const order = {
      path,
      digest,
      size,
      diffId: wish.diffId,
      isVerified,
      target: draft && { folder: draft.folder, whiteouts: draft.whiteouts },
      maxRatio: this.#ports.settings().maxUnpackRatio,
    };
    let isWhole = isVerified;
    const began = performance.now();
    const unpacking = this.#threads.begin(
      order,
      (read) => {
        // While bytes arrive it is their number that is told.
        isWhole ||= flight.step === "verifying";
        if (!isWhole) return;
        if (flight.step === "verifying") flight.tell("downloaded", size, size);
        flight.tell("extracting", read, size);
      },
      (cpuMs) => this.#ports.times?.usedByThreads(cpuMs),
    );
    unpacking.done.then(
      (unpacked) => this.#count(unpacked, performance.now() - began),
      () => {
        // Whoever waits for it is told.
      },
    );
    return unpacking;
  }

  #count({ expanded, time }: Unpacked, ms: number): void {
    const { times } = this.#ports;
    if (times === undefined) return;
    times.moved("unpacked", expanded);
    for (const part of THREAD_PARTS) times.spent(part, time[part]);
    // The thread's start, and the way to it and back.
    times.spent("queued", Math.max(0, ms - THREAD_PARTS.reduce((sum, part) => sum + time[part], 0)));
  }

  /** A blob of the content store, which is at `path`: verifies its diff id, and with a draft extracts it. */
  async unpackStored(
    flight: Flight<LayerRecord>,
    wish: LayerWish,
    path: string,
    draft: LayerDraft | undefined,
  ): Promise<Unpacked> {
    const unpacking = this.begin(flight, wish, { path, draft, isVerified: true });
    const stop = (): void => void unpacking.abort();
    flight.signal.addEventListener("abort", stop, { once: true });
    try {
      unpacking.offer(wish.descriptor.size);
      const unpacked = await unpacking.done;
      this.check(wish, unpacked);
      return unpacked;
    } finally {
      flight.signal.removeEventListener("abort", stop);
    }
  }

  /** Throws `invalid` for what isn't the layer that was asked for, and remembers what is. */
  check({ descriptor: { digest }, diffId }: LayerWish, unpacked: Unpacked): void {
    const { refusal } = unpacked;
    if (unpacked.digest !== digest) throw new GantryError("invalid", verificationFailed(digest));
    if (refusal !== undefined) {
      const layer = `cannot extract layer ${digest}: `;
      const message = refusal.message.startsWith(layer) ? refusal.message : `${layer}${refusal.message}`;
      throw errorOf({ ...refusal, message });
    }
    if (unpacked.diffId !== diffId) {
      throw new GantryError("invalid", "layers from manifest don't match image configuration");
    }
    if (this.#verified.size >= MOST_VERIFIED) this.#verified.clear();
    this.#verified.add(pairOf(digest, diffId));
  }
}

/** Docker's words for a blob that is another than its digest says. */
export function verificationFailed(digest: string): string {
  return `filesystem layer verification failed for digest ${digest}`;
}

function pairOf(digest: string, diffId: string): string {
  return `${digest} ${diffId}`;
}

import { Readable } from "node:stream";
import { throwIfAborted } from "../../base/abort.ts";
import { GantryError, hasCode } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import { type Job, Threads } from "../../base/threads.ts";
import type { Blob, BlobDraft, ContentStore } from "../../content/content-store.ts";
import type { PackSource } from "../../snapshots/pack-source.ts";
import type { Extracted, LayerDraft, Snapshotter } from "../../snapshots/snapshotter.ts";
import type { Packing, Twin } from "../ports.ts";
import { type Unpacked, unpackWhile } from "../unpack.ts";
import type { Laid, Packed, PackingNews, PackingOrder, PackingWord } from "./messages.ts";

export interface PackerPorts {
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  /** Path of worker.ts, or of what it was bundled to. */
  readonly workerScript: string;
}

/** What is packed sooner than a thread is started. */
const LITTLE = { bytes: 1 << 20, ms: 20 } as const;

/**
 * Packs snapshots into blobs. What is more than a little is packed by a thread, and extracted by another while it is
 * written: neither holds the event loop, and memory is bounded whatever the layer.
 */
export class Packer implements Packing {
  readonly #content: ContentStore;
  readonly #snapshots: Snapshotter;
  readonly #threads: Threads<PackingOrder, Packed | Laid, PackingWord, PackingNews>;

  constructor({ content, snapshots, workerScript }: PackerPorts) {
    this.#content = content;
    this.#snapshots = snapshots;
    const limits = { maxYoungGenerationSizeMb: 16 };
    this.#threads = new Threads({ script: workerScript, failure: "cannot pack the layer", limits });
  }

  /** Ends the threads; what is under way fails with `cancelled`. */
  close(): Promise<void> {
    return this.#threads.close();
  }

  async pack(snapshot: string, signal: AbortSignal): Promise<Blob> {
    const little = await this.#little(snapshot, signal);
    if (little !== undefined) return this.#content.write(Readable.from(little), { signal });
    return this.#drafted(async (draft) => {
      const packing = this.#snapshots.packing(snapshot);
      const { digest, filesSize } = await this.#run(this.#begin(packing.source, draft), signal);
      packing.measured(filesSize);
      return draft.publish(digest);
    });
  }

  async packTwin(
    key: string,
    parent: string | undefined,
    { onRead, signal }: { readonly signal: AbortSignal | undefined; readonly onRead: () => void },
  ): Promise<Twin> {
    const little = await this.#little(key, signal);
    if (little !== undefined) {
      onRead();
      return this.#unpackLittle(little, parent, signal);
    }
    const layer = await this.#snapshots.draft(parent);
    try {
      return await this.#drafted(async (draft) => {
        const { extracted, packed } = await this.#packAndLay(key, draft, layer, onRead, signal);
        failpoint("images.packing.laid");
        const [blob] = await Promise.all([draft.publish(packed.digest), this.#snapshots.sync()]);
        return this.#twin(blob, layer, parent, extracted);
      });
    } catch (error) {
      await layer.discard();
      throw error;
    }
  }

  #twin(blob: Blob, layer: LayerDraft, parent: string | undefined, extracted: Extracted): Twin {
    return {
      blob,
      commit: async (name) => {
        await layer.commit(name, parent, extracted);
        return extracted.size;
      },
      discard: () => layer.discard(),
    };
  }

  async #unpackLittle(
    little: readonly Uint8Array[],
    parent: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Twin> {
    const snapshots = this.#snapshots;
    const unpacked: Unpacked<Blob> = await unpackWhile(
      { snapshots },
      parent,
      Readable.from(little),
      (bytes) => this.#content.write(bytes, { ...(signal !== undefined && { signal }) }),
      signal,
    );
    const { key, result, size } = unpacked;
    return {
      blob: result,
      commit: async (name) => {
        if (snapshots.has(name)) await snapshots.remove(key);
        else await snapshots.commit(name, key);
        return size;
      },
      discard: () => snapshots.remove(key),
    };
  }

  /** undefined if it is more than a little. */
  async #little(snapshot: string, signal: AbortSignal | undefined): Promise<Uint8Array[] | undefined> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    const began = performance.now();
    for await (const piece of this.#snapshots.diff(snapshot)) {
      throwIfAborted(signal);
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > LITTLE.bytes || performance.now() - began > LITTLE.ms) return undefined;
    }
    return pieces;
  }

  async #packAndLay(
    key: string,
    draft: BlobDraft,
    layer: LayerDraft,
    onRead: () => void,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly packed: Packed; readonly extracted: Extracted }> {
    const { folder, whiteouts } = layer;
    const laying = this.#threads.begin({ job: "lay", from: draft.path, folder, whiteouts }, () => {}) as Job<
      Laid,
      PackingWord
    >;
    const packing = this.#begin(this.#snapshots.packing(key).source, draft, (size) =>
      laying.tell({ do: "grow", size, isWhole: false }),
    );
    // Neither goes on without the other, and nothing is removed under one that still works.
    const extracted = this.#run(laying, signal);
    const packed = this.#run(packing, signal);
    packed.then(
      ({ size }) => {
        laying.tell({ do: "grow", size, isWhole: true });
        onRead();
      },
      () => laying.tell({ do: "abort" }),
    );
    extracted.catch(() => packing.tell({ do: "abort" }));
    const [first, second] = await Promise.allSettled([packed, extracted]);
    if (first.status === "fulfilled" && second.status === "fulfilled") {
      return { packed: first.value, extracted: second.value };
    }
    throwIfAborted(signal);
    // Of one that was only ended because of the other nothing is told.
    const failures = [first, second].flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
    throw failures.find((error) => !(error instanceof GantryError && error.kind === "cancelled")) ?? failures[0];
  }

  #begin(
    source: PackSource,
    { path }: BlobDraft,
    onWritten: (size: number) => void = () => {},
  ): Job<Packed, PackingWord> {
    return this.#threads.begin({ job: "pack", source, to: path }, ({ written }) => onWritten(written)) as Job<
      Packed,
      PackingWord
    >;
  }

  /** Resolves or rejects when the thread has done with it, also after an abort. */
  async #run<T>(job: Job<T, PackingWord>, signal: AbortSignal | undefined): Promise<T> {
    const stop = (): void => job.tell({ do: "abort" });
    signal?.addEventListener("abort", stop, { once: true });
    try {
      if (signal?.aborted === true) stop();
      return await job.done;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  async #drafted<T>(act: (draft: BlobDraft) => Promise<T>): Promise<T> {
    const draft = await this.#content.draft();
    try {
      return await act(draft);
    } catch (error) {
      await draft.discard();
      if (!hasCode(error, "ENOSPC", "EDQUOT") || error instanceof GantryError) throw error;
      throw new GantryError("internal", "cannot store blob: no space left on device", { cause: error });
    }
  }
}

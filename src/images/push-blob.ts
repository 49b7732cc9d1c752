import { throwIfAborted, untilAborted } from "../base/abort.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import type { ContentStore } from "../content/content-store.ts";
import { type Descriptor, MEDIA_TYPE } from "../oci/image.ts";
import { RefusedError } from "../remote/failure.ts";
import type { Repository } from "../remote/repository.ts";
import { type Uploaded, type UploadSource, uploadBlob } from "../remote/upload.ts";
import type { BlobSources } from "./blob-sources.ts";
import { type FlightProgress, Flights } from "./flights.ts";
import { LayerPacker } from "./layer-packer.ts";
import type { PackedLayers } from "./packed-layers.ts";
import { PushRow, type RowWords } from "./push-row.ts";
import { Slots } from "./slots.ts";

const PUSHING: RowWords = { moving: "Pushing", done: "Pushed" };
const COPYING: RowWords = { moving: "Copying", done: "Copied" };

export interface BlobPusherPorts {
  readonly content: ContentStore;
  readonly sources: BlobSources;
  readonly packed: PackedLayers;
  /** Blobs that are sent at a time, whoever pushes them. */
  readonly maxUploads: () => number;
}

/** A blob that is to get to a registry. */
export interface PushedBlob {
  readonly descriptor: Descriptor;
  /** The row that tells of it; undefined for one that nobody watches. */
  readonly row: string | undefined;
  /** The store's blob as it is, or compressed on its way; or another repository's, of this registry or another. */
  readonly from: "store" | "store, packed" | Repository;
}

/** Whose repository it is to get into. Blobs of different clients are sent apart: each has to have the right to. */
export interface PushTarget {
  readonly repository: Repository;
  /** Tells clients apart. */
  readonly client: string;
}

/** Brings blobs to registries: each once at a time, however many pushes want it there. */
export class BlobPusher {
  readonly #ports: BlobPusherPorts;
  readonly #slots: Slots;
  readonly #flights = new Flights();
  readonly #lock = new KeyedLock();
  /** Who has, or waits for, a turn at a blob of a registry. */
  readonly #turns = new Map<string, number>();

  constructor(ports: BlobPusherPorts) {
    this.#ports = ports;
    this.#slots = new Slots(ports.maxUploads);
  }

  /** Resolves when the repository has the blob. An abort ends the upload if nobody else wants it. */
  push(target: PushTarget, blob: PushedBlob, progress: FlightProgress): Promise<void> {
    const { client, repository } = target;
    const { descriptor, from, row } = blob;
    const { base } = repository.endpoint;
    const kind = typeof from === "string" ? from : "copied";
    const key = JSON.stringify([base, repository.reference.path, descriptor.digest, kind, client]);
    const turn = JSON.stringify([base, descriptor.digest, client]);
    return this.#flights.run(key, progress, async (shared) => {
      const tell = row === undefined ? () => {} : shared.onProgress;
      const own = new PushRow(tell, row ?? "", descriptor.size, kind === "copied" ? COPYING : PUSHING);
      // Another repository of the registry may be getting it at this time: then it is mounted from there.
      const isShared = this.#turns.has(turn);
      this.#turns.set(turn, (this.#turns.get(turn) ?? 0) + 1);
      const begun = Promise.withResolvers<void>();
      const sent = this.#lock.run(turn, async () => {
        begun.resolve();
        try {
          await this.#send(repository, blob, own, isShared, shared.signal);
        } finally {
          const left = this.#turns.get(turn)! - 1;
          if (left === 0) this.#turns.delete(turn);
          else this.#turns.set(turn, left);
        }
      });
      sent.catch(() => {});
      // An abort ends the wait for a turn, and what was begun undoes itself.
      await untilAborted(begun.promise, shared.signal);
      await sent;
    });
  }

  /** The repository of the same registry that is asked to lend a blob: one of the same owner before others. */
  lender(repository: Pick<Repository, "reference">, digest: string): string | undefined {
    const { domain, path } = repository.reference;
    const others = this.#ports.sources.of(digest).filter((one) => one.domain === domain && one.path !== path);
    const owner = path.slice(0, path.indexOf("/") + 1);
    return (others.find((one) => owner !== "" && one.path.startsWith(owner)) ?? others[0])?.path;
  }

  async #send(
    repository: Repository,
    blob: PushedBlob,
    row: PushRow,
    isShared: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    throwIfAborted(signal);
    const { descriptor, from } = blob;
    if (this.#slots.isFull) row.say("Waiting");
    using _slot = await this.#slots.take(signal);
    const { packed, sources } = this.#ports;
    const wanted = from === "store, packed" ? packed.of(descriptor.digest)?.digest : descriptor.digest;
    if (isShared && wanted !== undefined && (await repository.hasBlob(wanted, { signal })) !== undefined) {
      row.say("Layer already exists");
      return;
    }
    const uploaded = await this.#upload(repository, blob, row, signal);
    sources.add([uploaded.digest], repository.reference);
    if (uploaded.lender === undefined) row.done();
    else row.say(`Mounted from ${uploaded.lender}`);
  }

  async #upload(repository: Repository, { descriptor, from }: PushedBlob, row: PushRow, signal: AbortSignal) {
    if (from === "store, packed") return this.#pack(repository, descriptor, row, signal);
    const { digest, size } = descriptor;
    const { content } = this.#ports;
    const open =
      from === "store"
        ? (offset: number) => content.open(digest, { from: offset }) as AsyncIterable<Uint8Array>
        : (offset: number) => from.read(descriptor, offset, { signal });
    const source: UploadSource = { size, digest: () => digest, open };
    const lender = from === "store" ? this.lender(repository, digest) : this.#lenderOf(repository, from, digest);
    const send = () => this.#transfer(repository, source, digest, lender, row, signal, (sent) => row.move(sent));
    try {
      return await send();
    } catch (error) {
      // A mirror that has wrong bytes isn't asked for them again.
      const isWrong = error instanceof RefusedError && error.code === "DIGEST_INVALID";
      if (from === "store" || !isWrong || !from.distrust(descriptor)) throw error;
      return send();
    }
  }

  #lenderOf(repository: Repository, from: Repository, digest: string): string | undefined {
    const { domain, path } = from.reference;
    if (domain !== repository.reference.domain) return this.lender(repository, digest);
    return path === repository.reference.path ? undefined : path;
  }

  async #pack(repository: Repository, { digest }: Descriptor, row: PushRow, signal: AbortSignal) {
    const { content, packed } = this.#ports;
    using packer = new LayerPacker(content, digest, (read) => row.move(read));
    const known = packed.of(digest)?.digest;
    const lender = known === undefined ? undefined : this.lender(repository, known);
    const uploaded = await this.#transfer(repository, packer, known, lender, row, signal, () => {});
    if (uploaded.lender === undefined) packed.put(digest, { mediaType: MEDIA_TYPE.ociLayerGzip, ...packer.packed });
    return uploaded;
  }

  async #transfer(
    repository: Repository,
    source: UploadSource,
    known: string | undefined,
    lender: string | undefined,
    row: PushRow,
    signal: AbortSignal,
    onProgress: (sent: number) => void,
  ): Promise<Uploaded & { readonly lender: string | undefined }> {
    const mount = known === undefined || lender === undefined ? undefined : { digest: known, from: lender };
    const onWait = (milliseconds: number): void => row.wait(milliseconds);
    const uploaded = await uploadBlob(repository, source, { signal, onProgress, onWait, mount });
    if (mount !== undefined && !uploaded.isMounted) {
      this.#ports.sources.remove(mount.digest, { domain: repository.reference.domain, path: mount.from });
    }
    return { ...uploaded, lender: uploaded.isMounted ? lender : undefined };
  }
}

import { throwIfAborted, untilAborted } from "../base/abort.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import type { ContentStore } from "../content/content-store.ts";
import { type Descriptor, MEDIA_TYPE } from "../oci/image.ts";
import type { Repository } from "../remote/repository.ts";
import { type Uploaded, type UploadSource, uploadBlob } from "../remote/upload.ts";
import type { BlobSources } from "./blob-sources.ts";
import { type FlightProgress, Flights } from "./flights.ts";
import { LayerPacker } from "./layer-packer.ts";
import { Slots } from "./layers/slots.ts";
import type { PackedLayers } from "./packed-layers.ts";
import { PushRow } from "./push-row.ts";

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
  /** Compress it on its way. */
  readonly isPacked: boolean;
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

  constructor(ports: BlobPusherPorts) {
    this.#ports = ports;
    this.#slots = new Slots(ports.maxUploads);
  }

  /** Resolves when the repository has the blob. An abort ends the upload if nobody else wants it. */
  push(target: PushTarget, blob: PushedBlob, progress: FlightProgress): Promise<void> {
    const { client, repository } = target;
    const { descriptor, isPacked, row } = blob;
    const { base } = repository.endpoint;
    const key = JSON.stringify([base, repository.reference.path, descriptor.digest, isPacked, client]);
    const registry = JSON.stringify([base, descriptor.digest, client]);
    return this.#flights.run(key, progress, (shared) => {
      const own = new PushRow(row === undefined ? () => {} : shared.onProgress, row ?? "", descriptor.size);
      // Another repository of the registry may be getting it at this time: then it is mounted from there.
      const turn = this.#lock.run(registry, () => this.#send(repository, blob, own, shared.signal));
      return untilAborted(turn, shared.signal);
    });
  }

  /** The repository of the same registry that is asked to lend a blob: one of the same owner before others. */
  lender(repository: Pick<Repository, "reference">, digest: string): string | undefined {
    const { domain, path } = repository.reference;
    const others = this.#ports.sources.of(digest).filter((one) => one.domain === domain && one.path !== path);
    const owner = path.slice(0, path.indexOf("/") + 1);
    return (others.find((one) => owner !== "" && one.path.startsWith(owner)) ?? others[0])?.path;
  }

  async #send(repository: Repository, blob: PushedBlob, row: PushRow, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (this.#slots.isFull) row.say("Waiting");
    using _slot = await this.#slots.take(signal);
    const { sources } = this.#ports;
    const uploaded = await (blob.isPacked ? this.#pack : this.#upload).call(
      this,
      repository,
      blob.descriptor,
      row,
      signal,
    );
    sources.add([uploaded.digest], repository.reference);
    row.say(uploaded.from === undefined ? "Pushed" : `Mounted from ${uploaded.from}`);
  }

  async #upload(repository: Repository, { digest, size }: Descriptor, row: PushRow, signal: AbortSignal) {
    const { content } = this.#ports;
    const source: UploadSource = {
      size,
      digest: () => digest,
      open: (offset) => content.open(digest, { from: offset }) as AsyncIterable<Uint8Array>,
    };
    return this.#transfer(repository, source, digest, row, signal, (sent) => row.move(sent));
  }

  async #pack(repository: Repository, { digest }: Descriptor, row: PushRow, signal: AbortSignal) {
    const { content, packed } = this.#ports;
    using packer = new LayerPacker(content, digest, (read) => row.move(read));
    const known = packed.of(digest)?.digest;
    const uploaded = await this.#transfer(repository, packer, known, row, signal, () => {});
    if (uploaded.from === undefined) packed.put(digest, { mediaType: MEDIA_TYPE.ociLayerGzip, ...packer.packed });
    return uploaded;
  }

  async #transfer(
    repository: Repository,
    source: UploadSource,
    known: string | undefined,
    row: PushRow,
    signal: AbortSignal,
    onProgress: (sent: number) => void,
  ): Promise<Uploaded & { readonly from: string | undefined }> {
    const { sources } = this.#ports;
    const from = known === undefined ? undefined : this.lender(repository, known);
    const mount = known === undefined || from === undefined ? undefined : { digest: known, from };
    const onWait = (milliseconds: number): void => row.wait(milliseconds);
    const uploaded = await uploadBlob(repository, source, { signal, onProgress, onWait, mount });
    if (mount !== undefined && !uploaded.isMounted) {
      sources.remove(mount.digest, { domain: repository.reference.domain, path: mount.from });
    }
    return { ...uploaded, from: uploaded.isMounted ? from : undefined };
  }
}

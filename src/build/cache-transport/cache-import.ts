import { pipeline } from "node:stream";
import { sentenceOf } from "../../base/errno-words.ts";
import { GantryError } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { ImageAssembly } from "../../images/assemble.ts";
import type { OpenBlob } from "../../images/ports.ts";
import { DigestStream, sha256Of } from "../../oci/digest.ts";
import { type Descriptor, type Index, type Manifest, MEDIA_TYPE, type Platform } from "../../oci/image.ts";
import { MAX_DOCUMENT, parseImageConfig } from "../../oci/image-config.ts";
import { choosePlatform } from "../../oci/platform.ts";
import { formatReference } from "../../oci/reference.ts";
import { readManifest } from "../../remote/document.ts";
import type { BuildOptions, BuildRequest, CacheArchives, CacheReference } from "../builder.ts";
import type { CacheImport } from "../parts.ts";
import { inTurns } from "../plan/turns.ts";
import { readFlag } from "../results/attributes.ts";
import { INLINE_CACHE } from "../results/image-config.ts";
import { ResultProgress } from "../results/result-progress.ts";
import type { Root } from "../root.ts";
import type { SessionContent } from "../session.ts";
import {
  CACHE_CONFIG_TYPE,
  type CachedChain,
  type CacheLayer,
  type CacheRecord,
  chainsOf,
  readCacheConfig,
  readInlineRecords,
} from "./cache-config.ts";
import { referenceOf, refuseOthers } from "./cache-reference.ts";

/** What imports are made of. */
export interface CacheImportPorts {
  readonly assemble: () => Promise<ImageAssembly>;
  /** The layers and the config of an image that is here under a name. */
  readonly localImage: (name: string) => LocalImage | undefined;
  /** A holder of a committed snapshot. */
  readonly hold: (snapshot: string) => Root;
  readonly platform: Platform;
  readonly archives: CacheArchives | undefined;
}

/** An image in the store as a cache. */
export interface LocalImage {
  readonly config: object;
  readonly layers: readonly { readonly blob: Descriptor; readonly diffId: string; readonly chainId: string }[];
}

/** Where the blobs of a cache are. */
interface BlobSource {
  /** A small blob, verified. */
  document(descriptor: Descriptor, signal: AbortSignal): Promise<Uint8Array>;
  readonly open: OpenBlob;
}

interface CacheLayerBlob {
  readonly descriptor: Descriptor;
  readonly diffId: string;
  readonly created: number;
}

interface CacheTable {
  readonly layers: readonly CacheLayerBlob[];
  readonly chains: ReadonlyMap<string, CachedChain>;
  readonly mounts?: readonly { readonly id: string; readonly descriptor: Descriptor }[];
}

const KNOWN: Readonly<Record<CacheReference["type"], readonly string[]>> = {
  registry: ["ref", "registry.insecure", "cache-mounts"],
  local: ["src", "digest", "tag", "cache-mounts"],
  inline: ["ref", "registry.insecure"],
};
const INDEXES: ReadonlySet<string> = new Set([MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerManifestList]);
/** A tar of nothing: a layer that changes nothing, in caches that leave such out. */
const NOTHING = Buffer.alloc(1024);
const EMPTY: CacheLayerBlob = {
  descriptor: { mediaType: MEDIA_TYPE.ociLayer, digest: sha256Of(NOTHING), size: NOTHING.length },
  diffId: sha256Of(NOTHING),
  created: 0,
};

/** Throws `invalid` for caches that can't be meant. */
export function checkCacheSources(request: BuildRequest): void {
  for (const { attributes, type } of request.cacheFrom) {
    refuseOthers("cache-from", type, attributes, KNOWN[type]);
    if (type === "local") {
      if ((attributes.get("src") ?? "") === "") throw new GantryError("invalid", "local cache importer requires src");
    } else referenceOf(attributes.get("ref") ?? "");
  }
}

/**
 * The caches that a request names: their tables are read now, layers are fetched when a step wants them. What can't be
 * read is told as a warning, and is no cache.
 */
export async function importCaches(
  request: BuildRequest,
  { onEvent, signal }: BuildOptions,
  ports: CacheImportPorts,
): Promise<readonly CacheImport[]> {
  const opened = request.cacheFrom.map(async (reference): Promise<CacheImport | undefined> => {
    const place = placeOf(reference);
    const progress = new ResultProgress(onEvent, `importing cache manifest from ${place}`, request.id);
    try {
      return await progress.run(() => openImport(reference, request, ports, progress, signal));
    } catch (error) {
      if (signal.aborted) throw error;
      progress.warn(`cannot use the cache ${place}: ${sentenceOf(error)}`);
      return undefined;
    }
  });
  const settled = await Promise.allSettled(opened);
  const imports = settled.flatMap((one) => (one.status === "fulfilled" && one.value !== undefined ? [one.value] : []));
  for (const one of settled) {
    if (one.status === "fulfilled") continue;
    for (const each of imports) await each[Symbol.asyncDispose]();
    throw one.reason;
  }
  return imports;
}

function placeOf({ attributes, type }: CacheReference): string {
  if (type === "local") return `local:${attributes.get("src")}`;
  return formatReference(referenceOf(attributes.get("ref") ?? ""));
}

async function openImport(
  reference: CacheReference,
  request: BuildRequest,
  ports: CacheImportPorts,
  progress: ResultProgress,
  signal: AbortSignal,
): Promise<CacheImport> {
  const { attributes, type } = reference;
  const withMounts = readFlag(`cache ${type}`, attributes, "cache-mounts", false);
  if (type === "local") {
    const { session } = request;
    if (session === undefined) throw new GantryError("invalid", "local cache importer requires session");
    const digest = attributes.get("digest") ?? "";
    if (digest === "") throw new GantryError("invalid", "local cache importer requires explicit digest");
    const store = session.content(`local:${attributes.get("src")}`);
    const source = sessionBlobs(store);
    const { size } = await store.info(digest, signal);
    const table = await readTable(
      source,
      await source.document({ mediaType: "", digest, size }, signal),
      ports,
      signal,
    );
    if (withMounts) await bringMounts(table, source.open, ports, progress, signal);
    return new TableImport(table, source.open, ports, progress, async () => {});
  }
  const name = referenceOf(attributes.get("ref") ?? "");
  const local = ports.localImage(formatReference(name));
  const own = local === undefined ? undefined : await inTurns(localTable(local), signal);
  if (own !== undefined) {
    return new TableImport(
      own,
      () => refused(),
      ports,
      progress,
      async () => {},
    );
  }
  const insecure = readFlag("cache registry", attributes, "registry.insecure", false);
  const opened = Promise.withResolvers<CacheImport>();
  const closed = Promise.withResolvers<void>();
  const assembly = await ports.assemble();
  const credentials = await request.credentialsOf(name.domain);
  const reading = assembly
    .reading(name, credentials, { insecure }, async (repository) => {
      const source: BlobSource = {
        document: async (descriptor, own) =>
          INDEXES.has(descriptor.mediaType) || isManifest(descriptor)
            ? (await repository.manifest(descriptor.digest, { signal: own })).bytes
            : repository.document(descriptor, { signal: own }, "cache config"),
        open: (descriptor, offset, own) => repository.read(descriptor, offset, { signal: own }),
      };
      const { bytes } = await repository.manifest(name.digest ?? name.tag ?? "", { signal });
      const table = await readTable(source, bytes, ports, signal);
      if (withMounts) await bringMounts(table, source.open, ports, progress, signal);
      opened.resolve(
        new TableImport(table, source.open, ports, progress, async () => {
          closed.resolve();
          await reading;
        }),
      );
      await closed.promise;
    })
    .finally(() => assembly[Symbol.asyncDispose]());
  reading.catch(opened.reject);
  return opened.promise;
}

function isManifest({ mediaType }: Descriptor): boolean {
  return mediaType === MEDIA_TYPE.ociManifest || mediaType === MEDIA_TYPE.dockerManifest;
}

function refused(): never {
  throw new GantryError("not-found", "the cache's layer is not here any more");
}

/** Reads what a name points to: a cache, or images that have theirs in their configs. */
async function readTable(
  source: BlobSource,
  bytes: Uint8Array,
  ports: CacheImportPorts,
  signal: AbortSignal,
): Promise<CacheTable> {
  const document = readManifest(Buffer.from(bytes), "", "the cache");
  if (document.kind === "index") {
    const config = document.index.manifests.find(({ mediaType }) => mediaType === CACHE_CONFIG_TYPE);
    if (config !== undefined) {
      return inTurns(cacheTable(await source.document(config, signal), document.index.manifests), signal);
    }
    const image = choosePlatform(imagesOf(document.index), ports.platform, ({ platform }) => platform ?? undefined);
    if (image === undefined)
      throw new GantryError("not-found", "it has neither a cache nor an image for this platform");
    return readTable(source, await source.document(image, signal), ports, signal);
  }
  const { config, layers } = document.manifest;
  const configBytes = await source.document(config, signal);
  const isTable = config.mediaType === CACHE_CONFIG_TYPE;
  return inTurns((isTable ? cacheTable : inlineTable)(configBytes, layers), signal);
}

function imagesOf({ manifests }: Index): Descriptor[] {
  return manifests.filter((each) => isManifest(each) && each.annotations?.["vnd.docker.reference.type"] === undefined);
}

function* cacheTable(configBytes: Uint8Array, descriptors: Manifest["layers"]): Generator<void, CacheTable> {
  const config = yield* readCacheConfig(configBytes);
  const known = new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor]));
  const layers = config.layers.map(({ blob }: CacheLayer): CacheLayerBlob => {
    const descriptor = known.get(blob);
    const diffId = descriptor?.annotations?.["containerd.io/uncompressed"];
    if (descriptor === undefined || diffId === undefined || !/^sha256:[a-f0-9]{64}$/.test(diffId)) {
      throw new GantryError("invalid", `invalid cache config: nothing is told of its layer ${blob}`);
    }
    const created = Date.parse(descriptor.annotations?.["buildkit/createdat"] ?? "");
    return { descriptor, diffId, created: Number.isNaN(created) || created < 0 ? 0 : created };
  });
  const mounts = (config.mounts ?? []).flatMap(({ blob, id }) => {
    const descriptor = known.get(blob);
    return descriptor === undefined ? [] : [{ id, descriptor }];
  });
  return { layers, chains: yield* chainsOf(config), mounts };
}

/** Fills cache mounts that are not here yet; those that are stay what they are. */
async function bringMounts(
  { mounts = [] }: CacheTable,
  open: OpenBlob,
  { archives }: CacheImportPorts,
  progress: ResultProgress,
  signal: AbortSignal,
): Promise<void> {
  if (archives === undefined) return;
  for (const { descriptor, id } of mounts) {
    if (archives.has(id)) continue;
    const name = `importing cache mount ${id}`;
    try {
      await progress.step(name, async () => {
        const verified = pipeline(open(descriptor, 0, signal), new DigestStream(descriptor.digest), () => {
          // The error reaches whoever reads what was verified.
        });
        await archives.write(id, verified, signal);
      });
    } catch (error) {
      if (signal.aborted) throw error;
      progress.warn(`cannot use the cache mount ${id}: ${sentenceOf(error)}`);
    }
  }
}

function* inlineTable(configBytes: Uint8Array, descriptors: Manifest["layers"]): Generator<void, CacheTable> {
  const config = parseImageConfig(configBytes);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== descriptors.length) {
    throw new GantryError("invalid", "layers from manifest don't match image configuration");
  }
  const times = (config.history ?? []).filter(({ empty_layer }) => empty_layer !== true).map(({ created }) => created);
  const layers = descriptors.map((descriptor, index) => ({
    descriptor,
    diffId: diffIds[index]!,
    created: Date.parse(times[index] ?? "") || 0,
  }));
  const records = yield* inlineRecordsOf(config);
  if (records === undefined) throw new GantryError("not-found", "the image has no cache in its config");
  return { layers, chains: yield* chainsOf({ layers: plainLayers(layers), records }) };
}

/** undefined for an image that is no cache. */
function* localTable({ config, layers: own }: LocalImage): Generator<void, CacheTable | undefined> {
  const records = yield* inlineRecordsOf(config);
  if (records === undefined) return undefined;
  const layers = own.map(({ blob, diffId }) => ({ descriptor: blob, diffId, created: 0 }));
  return { layers, chains: yield* chainsOf({ layers: plainLayers(layers), records }) };
}

function plainLayers(layers: readonly CacheLayerBlob[]): CacheLayer[] {
  return layers.map(({ descriptor }, index) => ({ blob: descriptor.digest, parent: index - 1 }));
}

function* inlineRecordsOf(config: object): Generator<void, readonly CacheRecord[] | undefined> {
  const text = (config as Record<string, unknown>)[INLINE_CACHE];
  return typeof text === "string" ? yield* readInlineRecords(Buffer.from(text, "base64")) : undefined;
}

function sessionBlobs(store: SessionContent): BlobSource {
  return {
    document: async ({ digest, size }, signal) => {
      if (size > MAX_DOCUMENT) {
        throw new GantryError("invalid", `cannot read ${digest}: it is longer than ${MAX_DOCUMENT} bytes`);
      }
      const pieces: Uint8Array[] = [];
      let length = 0;
      for await (const piece of await store.read(digest, signal)) {
        length += piece.length;
        if (length > size) break;
        pieces.push(piece);
      }
      const bytes = Buffer.concat(pieces);
      if (length !== size || sha256Of(bytes) !== digest) {
        throw new GantryError("invalid", `cache config verification failed for digest ${digest}`);
      }
      return bytes;
    },
    open: (descriptor, offset, signal) => skipping(store, descriptor, offset, signal),
  };
}

async function* skipping(
  store: SessionContent,
  { digest }: Descriptor,
  offset: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let left = offset;
  for await (const piece of await store.read(digest, signal)) {
    const part = left < piece.length ? piece.subarray(left) : undefined;
    left -= Math.min(left, piece.length);
    if (part !== undefined) yield Buffer.from(part.buffer, part.byteOffset, part.byteLength);
  }
}

/** A cache by its table. What it has brought is kept until it is disposed of, and then by whoever holds it. */
class TableImport implements CacheImport {
  readonly #table: CacheTable;
  readonly #open: OpenBlob;
  readonly #ports: CacheImportPorts;
  readonly #progress: ResultProgress;
  readonly #close: () => Promise<void>;
  readonly #lock = new KeyedLock();
  readonly #damaged = new Set<number>();
  #assembly: Promise<ImageAssembly> | undefined;

  constructor(
    table: CacheTable,
    open: OpenBlob,
    ports: CacheImportPorts,
    progress: ResultProgress,
    close: () => Promise<void>,
  ) {
    this.#table = table;
    this.#open = open;
    this.#ports = ports;
    this.#progress = progress;
    this.#close = close;
  }

  async lookup(key: string, { signal }: Pick<BuildOptions, "signal">): Promise<Root | undefined> {
    const chain = this.#table.chains.get(key);
    if (chain === undefined || chain.layers.some((number) => this.#damaged.has(number))) return undefined;
    const layers = chain.layers.map((number) => (number === -1 ? EMPTY : this.#table.layers[number]!));
    this.#assembly ??= this.#ports.assemble();
    const assembly = await this.#assembly;
    return this.#lock.run(key, async () => {
      try {
        const fetched = await assembly.fetch(layers, this.#opening(), { signal });
        return this.#ports.hold(fetched.at(-1)!.chainId);
      } catch (error) {
        if (signal.aborted) throw error;
        for (const number of chain.layers) if (number !== -1) this.#damaged.add(number);
        this.#progress.warn(`cannot use a layer of the cache: ${sentenceOf(error)}`);
        return undefined;
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const assembly = await this.#assembly?.catch(() => undefined);
    await assembly?.[Symbol.asyncDispose]();
    await this.#close();
  }

  #opening(): OpenBlob {
    return (descriptor, offset, signal) =>
      descriptor.digest === EMPTY.descriptor.digest ? nothing(offset) : this.#open(descriptor, offset, signal);
  }
}

async function* nothing(offset: number): AsyncGenerator<Buffer> {
  yield NOTHING.subarray(offset);
}

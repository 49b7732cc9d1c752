import { createCipheriv, createHash } from "node:crypto";
import { gzipSync, constants as zlib, zstdCompressSync } from "node:zlib";
import { sha256, type TarEntry, tarOf } from "./archive.ts";

/**
 * Images as what a registry holds: blobs and manifests, made here byte by byte so that nothing of the product has a hand
 * in what its tests expect.
 */

/** Bytes under the digest that a registry finds them by. */
export interface Content {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Buffer;
}

export interface TestLayer extends Content {
  /** The uncompressed archive, and its digest. */
  readonly tar: Buffer;
  readonly diffId: string;
  /** Where a foreign layer lies: it isn't in the registry. */
  readonly urls: readonly string[] | undefined;
}

export interface TestPlatform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface TestImage {
  readonly kind: "image";
  readonly manifest: Content;
  readonly config: Content;
  readonly layers: readonly TestLayer[];
  readonly platform: TestPlatform;
}

export interface TestIndex {
  readonly kind: "index";
  readonly manifest: Content;
  readonly members: readonly (TestImage | TestIndex)[];
}

export type MediaTypes = "oci" | "docker";
/** `gzip-members` and `zstd-frames` are several of them, one after the other, as parallel compressors write. */
export type LayerCompression = "gzip" | "gzip-members" | "zstd" | "zstd-frames" | "none";

const TYPES = {
  oci: {
    index: "application/vnd.oci.image.index.v1+json",
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar",
    foreign: "application/vnd.oci.image.layer.nondistributable.v1.tar",
  },
  docker: {
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar",
    foreign: "application/vnd.docker.image.rootfs.foreign.diff.tar",
  },
} as const;

export const HOST_PLATFORM: TestPlatform = { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" };

const CREATED = "2024-01-02T03:04:05Z";
const PIECES = 4;

export interface LayerOptions {
  readonly compression?: LayerCompression;
  readonly mediaTypes?: MediaTypes;
  /** gzip's or zstd's own; default their fastest. */
  readonly level?: number;
  /** Makes it a foreign layer. */
  readonly urls?: readonly string[];
  /** Another media type than the right one. */
  readonly mediaType?: string;
}

/** A layer of these entries, or of an archive that is there already. */
export function layerOf(content: readonly TarEntry[] | Buffer, options: LayerOptions = {}): TestLayer {
  const tar = Buffer.isBuffer(content) ? content : tarOf(content);
  const compression = options.compression ?? "gzip";
  const bytes = compressed(tar, compression, options.level ?? 1);
  const types = TYPES[options.mediaTypes ?? "oci"];
  const suffix = { gzip: ["+gzip", ".gzip"], zstd: ["+zstd", ".zstd"], none: ["", ""] } as const;
  const kind = compression === "none" ? "none" : compression.startsWith("gzip") ? "gzip" : "zstd";
  const own = `${options.urls === undefined ? types.layer : types.foreign}${suffix[kind][options.mediaTypes === "docker" ? 1 : 0]}`;
  return {
    ...contentOf(options.mediaType ?? own, bytes),
    tar,
    diffId: `sha256:${sha256(tar)}`,
    urls: options.urls,
  };
}

export interface ImageOptions {
  readonly layers?: readonly TestLayer[];
  readonly mediaTypes?: MediaTypes;
  readonly platform?: TestPlatform;
  /** Added to the config's `config`. */
  readonly process?: Readonly<Record<string, unknown>>;
  /** What the config says instead of the layers' own digests. */
  readonly diffIds?: readonly string[];
  /** Changes the documents before they are written, to any end. */
  readonly editConfig?: (config: Record<string, unknown>) => unknown;
  readonly editManifest?: (manifest: Record<string, unknown>) => unknown;
  /** Bytes that take the place of the config. */
  readonly config?: Buffer;
}

/** An image of these layers; without any, of one that has a file that says hello. */
export function imageOf(options: ImageOptions = {}): TestImage {
  const mediaTypes = options.mediaTypes ?? "oci";
  const types = TYPES[mediaTypes];
  const platform = options.platform ?? HOST_PLATFORM;
  const layers = options.layers ?? [layerOf([{ name: "hello", body: "hello\n" }], { mediaTypes })];
  const document = {
    ...platform,
    created: CREATED,
    config: { Env: ["PATH=/bin"], Cmd: ["/bin/sh"], ...options.process },
    rootfs: { type: "layers", diff_ids: options.diffIds ?? layers.map(({ diffId }) => diffId) },
    history: layers.map((_, at) => ({ created: CREATED, created_by: `layer ${at}` })),
  };
  const edited = options.editConfig === undefined ? document : options.editConfig({ ...document });
  const config = contentOf(types.config, options.config ?? Buffer.from(JSON.stringify(edited)));
  const manifest = {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: descriptorOf(config),
    layers: layers.map((layer) => ({ ...descriptorOf(layer), ...(layer.urls !== undefined && { urls: layer.urls }) })),
  };
  return {
    kind: "image",
    manifest: documentOf(types.manifest, manifest, options.editManifest),
    config,
    layers,
    platform,
  };
}

export interface IndexOptions {
  readonly mediaTypes?: MediaTypes;
  /** Gives each image an attestation as BuildKit writes it, for the platform `unknown/unknown`. */
  readonly attestations?: boolean;
  readonly editIndex?: (index: Record<string, unknown>) => unknown;
}

/** An index of images for several platforms, or of other indexes. */
export function indexOf(members: readonly (TestImage | TestIndex)[], options: IndexOptions = {}): TestIndex {
  const types = TYPES[options.mediaTypes ?? "oci"];
  const named = members.map((member) => ({
    member,
    row: {
      ...descriptorOf(member.manifest),
      ...(member.kind === "image" && { platform: member.platform }),
    },
  }));
  const proofs = options.attestations === true ? members.filter(({ kind }) => kind === "image").map(attestationOf) : [];
  const rows = [...named, ...proofs];
  const index = { schemaVersion: 2, mediaType: types.index, manifests: rows.map(({ row }) => row) };
  return {
    kind: "index",
    manifest: documentOf(types.index, index, options.editIndex),
    members: rows.map(({ member }) => member),
  };
}

function attestationOf(image: TestImage | TestIndex): { readonly member: TestImage; readonly row: object } {
  const statement = { _type: "https://in-toto.io/Statement/v0.1", subject: [{ digest: image.manifest.digest }] };
  const body = Buffer.from(JSON.stringify(statement));
  const proof = { ...contentOf("application/vnd.in-toto+json", body), tar: body, diffId: `sha256:${sha256(body)}` };
  const platform = { os: "unknown", architecture: "unknown" };
  const member = imageOf({ layers: [{ ...proof, urls: undefined }], platform });
  const annotations = {
    "vnd.docker.reference.type": "attestation-manifest",
    "vnd.docker.reference.digest": image.manifest.digest,
  };
  return { member, row: { ...descriptorOf(member.manifest), platform, annotations } };
}

/** All that an image or an index needs, each once: manifests after what they name. */
export function contentsOf(image: TestImage | TestIndex): {
  readonly blobs: readonly Content[];
  readonly manifests: readonly Content[];
} {
  const [blobs, manifests] = [new Map<string, Content>(), new Map<string, Content>()];
  const visit = (part: TestImage | TestIndex): void => {
    if (part.kind === "index") part.members.forEach(visit);
    else for (const blob of [part.config, ...part.layers.filter(isHere)]) blobs.set(blob.digest, blob);
    manifests.set(part.manifest.digest, part.manifest);
  };
  visit(image);
  return { blobs: [...blobs.values()], manifests: [...manifests.values()] };
}

function isHere({ urls }: TestLayer): boolean {
  return urls === undefined;
}

/** What an image can be put into: `TestRegistry` is one. */
export interface Receiver {
  request(
    method: string,
    path: string,
    options?: { readonly headers?: Readonly<Record<string, string>>; readonly body?: Uint8Array | string },
  ): Promise<{
    readonly status: number;
    readonly headers: Readonly<Record<string, string | string[] | undefined>>;
    readonly body: Buffer;
  }>;
}

/**
 * Puts an image under `repository:tag` by the registry's own protocol; `without` are digests that it is to lack.
 * Resolves with the digest that the tag points to.
 */
export async function pushTo(
  registry: Receiver,
  name: string,
  image: TestImage | TestIndex,
  options: { readonly without?: readonly string[] } = {},
): Promise<string> {
  const [, repository = "", tag = "latest"] = /^(.+?)(?::([^:/]+))?$/.exec(name) ?? [];
  const { blobs, manifests } = contentsOf(image);
  const lacks = new Set(options.without);
  for (const blob of blobs) if (!lacks.has(blob.digest)) await putBlob(registry, repository, blob);
  for (const manifest of manifests) {
    if (lacks.has(manifest.digest)) continue;
    const target = manifest.digest === image.manifest.digest ? tag : manifest.digest;
    await succeed(registry, "PUT", `/v2/${repository}/manifests/${target}`, {
      headers: { "Content-Type": manifest.mediaType },
      body: manifest.bytes,
    });
  }
  return image.manifest.digest;
}

export async function putBlob(registry: Receiver, repository: string, blob: Content): Promise<void> {
  const begun = await succeed(registry, "POST", `/v2/${repository}/blobs/uploads/`, {
    headers: { "Content-Length": "0" },
  });
  const place = new URL(String(begun.headers.location), "http://here");
  place.searchParams.set("digest", blob.digest);
  await succeed(registry, "PUT", `${place.pathname}${place.search}`, {
    headers: { "Content-Type": "application/octet-stream" },
    body: blob.bytes,
  });
}

async function succeed(
  registry: Receiver,
  method: string,
  path: string,
  options: Parameters<Receiver["request"]>[2],
): Promise<Awaited<ReturnType<Receiver["request"]>>> {
  const answer = await registry.request(method, path, options);
  if (answer.status < 200 || answer.status > 299) {
    throw new Error(`${method} ${path.split("?")[0]}: ${answer.status} ${answer.body.toString()}`);
  }
  return answer;
}

/** Bytes that nothing makes smaller, the same for the same seed. */
export function randomBytesOf(seed: string, size: number): Buffer {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** Files of random content, `size` bytes together: what a layer is made of where only its size matters. */
export function randomEntries(seed: string, size: number, files = 1): TarEntry[] {
  const bytes = randomBytesOf(seed, size);
  const each = Math.ceil(size / files);
  return Array.from({ length: files }, (_, at) => ({
    name: `${seed}-${at}`,
    body: bytes.subarray(at * each, Math.min(size, (at + 1) * each)),
  }));
}

/** An image of `layers` random layers of `size` bytes each. */
export function randomImage(
  seed: string,
  options: { readonly layers?: number; readonly size?: number; readonly files?: number } & LayerOptions = {},
): TestImage {
  const { layers = 3, size = 1 << 20, files = 1, mediaTypes } = options;
  return imageOf({
    mediaTypes,
    layers: Array.from({ length: layers }, (_, at) => layerOf(randomEntries(`${seed}-${at}`, size, files), options)),
  });
}

export function contentOf(mediaType: string, bytes: Buffer): Content {
  return { mediaType, bytes, digest: `sha256:${sha256(bytes)}` };
}

function documentOf(
  mediaType: string,
  document: object,
  edit?: (document: Record<string, unknown>) => unknown,
): Content {
  const edited = edit === undefined ? document : edit({ ...document });
  return contentOf(mediaType, Buffer.isBuffer(edited) ? edited : Buffer.from(JSON.stringify(edited)));
}

function descriptorOf({ mediaType, digest, bytes }: Content): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest, size: bytes.length };
}

function compressed(tar: Buffer, compression: LayerCompression, level: number): Buffer {
  switch (compression) {
    case "none":
      return tar;
    case "gzip":
      return gzipSync(tar, { level });
    case "zstd":
      return zstdCompressSync(tar, { params: { [zlib.ZSTD_c_compressionLevel]: level } });
    case "gzip-members":
      return Buffer.concat(piecesOf(tar).map((piece) => compressed(piece, "gzip", level)));
    case "zstd-frames":
      return Buffer.concat(piecesOf(tar).map((piece) => compressed(piece, "zstd", level)));
  }
}

/** Cut where no block of the archive ends, so that a reader that stops at a piece's end is found out. */
function piecesOf(tar: Buffer): Buffer[] {
  const each = Math.ceil(tar.length / PIECES) + 7;
  return Array.from({ length: PIECES }, (_, at) => tar.subarray(at * each, (at + 1) * each));
}

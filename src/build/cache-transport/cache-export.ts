import { pipeline } from "node:stream";
import { createGzip } from "node:zlib";
import { sentenceOf } from "../../base/errno-words.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { AssembledLayer, ImageAssembly } from "../../images/assemble.ts";
import type { LayerForm } from "../../images/layer-forms.ts";
import { type Descriptor, type Index, type Manifest, MEDIA_TYPE } from "../../oci/image.ts";
import { describe } from "../../oci/image-config.ts";
import { formatReference, type Reference } from "../../oci/reference.ts";
import type { BuildOptions, BuildRequest, CacheArchives, CacheReference } from "../builder.ts";
import type { CachedStep } from "../parts.ts";
import { readFlag, readForm } from "../results/attributes.ts";
import { hasBlob, once } from "../results/layout.ts";
import { ResultProgress } from "../results/result-progress.ts";
import { CACHE_CONFIG_TYPE, type CacheConfig, cacheConfigOf, recordsOf } from "./cache-config.ts";
import { referenceOf, refuseOthers } from "./cache-reference.ts";

export interface CacheExportInput {
  readonly request: BuildRequest;
  readonly steps: () => readonly CachedStep[];
  /** Snapshots of the targets' layers: what `mode=min` keeps to. */
  readonly snapshots: () => ReadonlySet<string>;
  /** Names of a snapshot and of those below it, bottom first. */
  readonly chainOf: (snapshot: string) => readonly string[];
  readonly assembly: ImageAssembly;
  /** Cache mounts that the build's steps have, and what they hold. */
  readonly mounts: { readonly ids: readonly string[]; readonly archives: CacheArchives } | undefined;
  readonly onEvent: BuildOptions["onEvent"];
  readonly signal: AbortSignal;
}

/** A place that caches go to, its attributes read. */
export interface CacheTarget {
  readonly to:
    | { readonly type: "registry"; readonly reference: Reference; readonly insecure: boolean }
    | { readonly type: "local"; readonly folder: string };
  readonly mode: "min" | "max";
  readonly form: LayerForm;
  readonly ociTypes: boolean;
  readonly imageManifest: boolean;
  readonly ignoreErrors: boolean;
  /** With what cache mounts hold. */
  readonly withMounts: boolean;
}

const COMMON = [
  "mode",
  "compression",
  "compression-level",
  "force-compression",
  "oci-mediatypes",
  "image-manifest",
  "ignore-error",
  "cache-mounts",
];
const KNOWN: Readonly<Record<CacheReference["type"], readonly string[]>> = {
  registry: [...COMMON, "ref", "registry.insecure"],
  local: [...COMMON, "dest", "tag"],
  inline: ["mode", "ignore-error"],
};
/** Of a blob that is what a cache mount held. */
const MOUNT_ANNOTATION = "gantry.build/cache-mount";
const MOST_TRIES = 5;
const GZIP: LayerForm = { compression: "gzip", force: false };

/** Reads where a request wants its cache; throws `invalid`. Inline caches are part of the image. */
export function readCacheTargets(request: BuildRequest): readonly CacheTarget[] {
  return request.cacheTo.flatMap((one) => readCacheTarget(one) ?? []);
}

function readCacheTarget({ attributes, type }: CacheReference): CacheTarget | undefined {
  refuseOthers("cache-to", type, attributes, KNOWN[type]);
  const mode = attributes.get("mode") ?? "min";
  if (mode !== "min" && mode !== "max") {
    throw new GantryError("invalid", `unsupported mode ${JSON.stringify(mode)} of a cache: it must be min or max`);
  }
  if (type === "inline") {
    if (mode === "max")
      throw new GantryError("invalid", "inline cache export has no mode=max: it has the image's own layers");
    return undefined;
  }
  const kind = `cache ${type}`;
  const ociTypes = readFlag(kind, attributes, "oci-mediatypes", true);
  const imageManifest = readFlag(kind, attributes, "image-manifest", ociTypes);
  if (imageManifest && !ociTypes) {
    throw new GantryError(
      "invalid",
      "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format",
    );
  }
  const withMounts = readFlag(kind, attributes, "cache-mounts", false);
  if (withMounts && mode !== "max") {
    throw new GantryError("invalid", "cache-mounts=true needs mode=max: they are no part of a result");
  }
  const common = {
    mode,
    form: readForm(kind, attributes) ?? GZIP,
    ociTypes,
    imageManifest,
    ignoreErrors: readFlag(kind, attributes, "ignore-error", false),
    withMounts,
  } as const;
  if (type === "registry") {
    const insecure = readFlag(kind, attributes, "registry.insecure", false);
    return { ...common, to: { type, reference: referenceOf(attributes.get("ref") ?? ""), insecure } };
  }
  const folder = attributes.get("dest") ?? "";
  if (folder === "") throw new GantryError("invalid", "local cache exporter requires dest");
  return { ...common, to: { type, folder } };
}

/** Brings a build's cache to one place. Resolves with what the client is told of it. */
export async function exportCache(target: CacheTarget, input: CacheExportInput): Promise<ReadonlyMap<string, string>> {
  const name = target.to.type === "registry" ? "exporting cache to registry" : "exporting cache to client directory";
  const progress = new ResultProgress(input.onEvent, name, `${input.request.id} ${placeOf(target)}`);
  try {
    return await progress.run(() => writeLastingCache(target, input, progress));
  } catch (error) {
    if (!target.ignoreErrors || input.signal.aborted) throw error;
    progress.warn(`cannot export the cache to ${placeOf(target)}: ${sentenceOf(error)}`);
    return new Map();
  }
}

function placeOf({ to }: CacheTarget): string {
  return to.type === "registry" ? formatReference(to.reference) : to.folder;
}

/** Another build may give snapshots other names at any time, as images of its own have them. */
async function writeLastingCache(
  target: CacheTarget,
  input: CacheExportInput,
  progress: ResultProgress,
): Promise<ReadonlyMap<string, string>> {
  for (let tries = 1; ; tries++) {
    try {
      return await writeCache(target, input, progress);
    } catch (error) {
      if (!isKind(error, "not-found") || tries === MOST_TRIES || input.signal.aborted) throw error;
    }
  }
}

async function writeCache(
  target: CacheTarget,
  input: CacheExportInput,
  progress: ResultProgress,
): Promise<ReadonlyMap<string, string>> {
  const { assembly, request, signal } = input;
  const kept = input.snapshots();
  const steps = input
    .steps()
    .filter(({ snapshot }) => snapshot !== undefined && (target.mode === "max" || kept.has(snapshot)));
  if (steps.length === 0) {
    progress.told("skipping cache export for empty result");
    return new Map();
  }
  const layers = await progress.step("preparing build cache for export", () => layersOf(steps, input));
  const mounts = target.withMounts ? await mountsOf(input, progress) : [];
  const { to } = target;
  const write = async (isThere?: (digest: string) => Promise<boolean>) => {
    const table = await tableOf(target, { steps, layers, mounts }, input, isThere);
    for (const { digest } of table.layers) progress.told(`writing layer ${digest}`);
    return table;
  };
  if (to.type === "registry") {
    const top = await assembly.push(
      to.reference,
      {
        credentials: await request.credentialsOf(to.reference.domain),
        insecure: to.insecure,
        byDigest: false,
        shared: [...layers.values()].map(({ blob }) => blob.digest),
        isImage: false,
      },
      { signal, onProgress: () => {} },
      async (isThere) => {
        const { config, layers: blobs, manifest } = await write(isThere);
        progress.told(`writing config ${config.digest}`);
        progress.told(`writing cache ${target.imageManifest ? "image " : ""}manifest ${manifest.descriptor.digest}`);
        return { blobs: [...blobs, config], manifests: [manifest] };
      },
    );
    return new Map([["cache.manifest", JSON.stringify(top)]]);
  }
  const { session } = request;
  if (session === undefined) throw new GantryError("invalid", "local cache exporter requires session");
  const store = session.content(`local:${to.folder}`);
  const { config, layers: blobs, manifest } = await write();
  for (const { digest, size } of [...blobs, config]) {
    if (!(await hasBlob(store, digest, signal))) await store.write(digest, size, assembly.read(digest), signal);
  }
  await store.write(manifest.descriptor.digest, manifest.bytes.length, once(manifest.bytes), signal);
  return new Map([["cache.manifest", JSON.stringify(manifest.descriptor)]]);
}

interface CacheTable {
  readonly layers: readonly Descriptor[];
  readonly config: Descriptor;
  readonly manifest: { readonly descriptor: Descriptor; readonly bytes: Uint8Array };
}

/** All snapshots that the steps stand on, as layers. */
async function layersOf(
  steps: readonly CachedStep[],
  { assembly, chainOf, signal }: CacheExportInput,
): Promise<ReadonlyMap<string, AssembledLayer>> {
  const layers = new Map<string, AssembledLayer>();
  for (const { snapshot } of steps) {
    for (const name of chainOf(snapshot!)) {
      if (!layers.has(name)) layers.set(name, await assembly.layer(() => name, { signal }));
    }
  }
  return layers;
}

interface Cached {
  readonly steps: readonly CachedStep[];
  readonly layers: ReadonlyMap<string, AssembledLayer>;
  readonly mounts: readonly { readonly id: string; readonly blob: Descriptor }[];
}

/** What the steps' cache mounts hold now. One that another build uses at this time is left out. */
async function mountsOf(
  { assembly, mounts, signal }: CacheExportInput,
  progress: ResultProgress,
): Promise<Cached["mounts"]> {
  const found: { id: string; blob: Descriptor }[] = [];
  if (mounts === undefined) return found;
  const { archives, ids } = mounts;
  for (const id of ids) {
    if (!archives.has(id)) continue;
    let archive: AsyncIterable<Uint8Array>;
    try {
      archive = archives.read(id);
    } catch (error) {
      progress.warn(`the cache goes without a cache mount: ${sentenceOf(error)}`);
      continue;
    }
    const packed = pipeline(archive, createGzip({ level: 4 }), () => {
      // The error reaches whoever reads the packed stream.
    });
    const name = `exporting cache mount ${id}`;
    const blob = await progress.step(name, () => assembly.write(MEDIA_TYPE.ociLayerGzip, packed, signal));
    failpoint("build.cache-mount.packed");
    found.push({ id, blob: { ...blob, annotations: { [MOUNT_ANNOTATION]: id } } });
  }
  return found;
}

const TIME_ANNOTATION = "buildkit/createdat";

function timeIn({ annotations }: Descriptor): string {
  return annotations?.[TIME_ANNOTATION] ?? "";
}

async function tableOf(
  target: CacheTarget,
  { layers, mounts, steps }: Cached,
  { assembly, chainOf, signal }: CacheExportInput,
  isThere: ((digest: string) => Promise<boolean>) | undefined,
): Promise<CacheTable> {
  const forms = new Map<string, Descriptor>();
  await Promise.all(
    [...layers].map(async ([name, layer]) => {
      const options = { signal, ...(isThere !== undefined && { isThere }) };
      const form = await assembly.form(layer, target.form, options);
      forms.set(name, {
        ...form,
        annotations: {
          [TIME_ANNOTATION]: new Date(layer.created).toISOString(),
          "containerd.io/uncompressed": layer.diffId,
        },
      });
    }),
  );
  const config: CacheConfig = cacheConfigOf(
    steps.map(({ createdAt, definitions, inputs, key, snapshot }) => ({
      key,
      inputs,
      definitions,
      createdAt,
      blobs: chainOf(snapshot!).map((name) => forms.get(name)!.digest),
    })),
  );
  const table = {
    ...config,
    ...(mounts.length > 0 && { mounts: mounts.map(({ blob, id }) => ({ id, blob: blob.digest })) }),
  };
  const byDigest = new Map<string, Descriptor>();
  for (const form of forms.values()) {
    // Steps that came to the same are one layer: of the time when it was first packed, which an image of it has.
    const former = byDigest.get(form.digest);
    if (former === undefined || timeIn(form) < timeIn(former)) byDigest.set(form.digest, form);
  }
  const descriptors = [...new Set(config.layers.map(({ blob }) => blob))].map((blob) => byDigest.get(blob)!);
  const configDescriptor = await assembly.document(CACHE_CONFIG_TYPE, Buffer.from(JSON.stringify(table)));
  for (const { blob } of mounts) if (!byDigest.has(blob.digest)) descriptors.push(blob);
  const { descriptor, bytes } = manifestOf(target, configDescriptor, descriptors);
  return { layers: descriptors, config: configDescriptor, manifest: { descriptor, bytes } };
}

function manifestOf(
  { imageManifest, ociTypes }: CacheTarget,
  config: Descriptor,
  layers: readonly Descriptor[],
): { readonly descriptor: Descriptor; readonly bytes: Uint8Array } {
  const document: Manifest | Index = imageManifest
    ? { schemaVersion: 2, mediaType: MEDIA_TYPE.ociManifest, config, layers: [...layers] }
    : {
        schemaVersion: 2,
        mediaType: ociTypes ? MEDIA_TYPE.ociIndex : MEDIA_TYPE.dockerManifestList,
        manifests: [...layers, config],
      };
  const bytes = Buffer.from(JSON.stringify(document));
  return { descriptor: describe(document.mediaType!, bytes), bytes };
}

/** Whether a request's images are to have their cache in their configs. */
export function wantsInline(request: BuildRequest): boolean {
  return request.cacheTo.some(({ type }) => type === "inline");
}

/**
 * The records of steps whose layers an image has, for its config; undefined where there are none. `isEmpty` says of a
 * snapshot that it changes nothing: the image has no layer of it.
 */
export function inlineRecords(
  steps: readonly CachedStep[],
  layers: readonly { readonly snapshot: string }[],
  chainOf: (snapshot: string) => readonly string[],
  isEmpty: (snapshot: string) => boolean,
): string | undefined {
  const numbers = new Map(layers.map(({ snapshot }, index) => [snapshot, index]));
  const placed = steps.flatMap((step) => {
    if (step.snapshot === undefined) return [];
    const names = chainOf(step.snapshot);
    if (!names.every((name) => numbers.has(name) || isEmpty(name))) return [];
    return [{ ...step, chain: names.map((name) => numbers.get(name) ?? -1) }];
  });
  if (placed.length === 0) return undefined;
  return JSON.stringify(
    recordsOf(placed, ({ chain }) => {
      const isPlain = chain.every((each, index) => each === index);
      return isPlain ? { top: chain.length - 1 } : { chain };
    }),
  );
}

import { join } from "node:path";
import { GantryError } from "../../base/errors.ts";
import type { ImageAssembly, RenameSnapshot } from "../../images/assemble.ts";
import type { ImageStore } from "../../images/image-store.ts";
import type { LayerForm } from "../../images/layer-forms.ts";
import type { Descriptor, Platform } from "../../oci/image.ts";
import { describe } from "../../oci/image-config.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { formatReference, parseNormalized, type Reference } from "../../oci/reference.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { Attestor } from "../attest/attestor.ts";
import type { BuildOptions, BuildRequest, CacheArchives } from "../builder.ts";
import { exportCache, inlineRecords, readCacheTargets, wantsInline } from "../cache-transport/cache-export.ts";
import { checkCacheSources, importCaches } from "../cache-transport/cache-import.ts";
import type { Graph } from "../graph.ts";
import type { BuildResults, CachedStep, CacheImport, Exported, ExportInput, SolvedTarget } from "../parts.ts";
import type { Roots } from "../roots.ts";
import type { BuildSession } from "../session.ts";
import { type ImageFields, type ImageOutput, type Output, readOutputs, type TreeOutput } from "./attributes.ts";
import { type BuiltImage, buildImage, type InlineCache } from "./built-image.ts";
import { configType, type ImagePackage, manifestFor, packageImages } from "./image-package.ts";
import { LayersAhead } from "./layers-ahead.ts";
import { layoutTar, sendLayout } from "./layout.ts";
import { ResultProgress } from "./result-progress.ts";
import { squash } from "./squash.ts";
import { sendFolders, type Tree, treeTar, withTemporary } from "./tree-output.ts";

export interface ResultsPorts {
  readonly images: Pick<ImageStore, "assemble" | "layersOf">;
  readonly snapshots: Snapshotter;
  readonly roots: Roots;
  /** Gives a snapshot another name for all who know it by the former. */
  readonly rename: RenameSnapshot;
  /** Resolves when all that was built so far is on the disk. */
  readonly settle: () => Promise<void>;
  /** For what is made on the way; a folder of the engine's own, emptied at start. */
  readonly tempRoot: string;
  readonly platform: Platform;
  /** What cache mounts hold, for caches that have it. */
  readonly archives?: CacheArchives;
  /** Says of results what was asked for; without one nothing is said. */
  readonly attestor?: Pick<Attestor, "attest" | "check" | "isAsked" | "told">;
}

const AS_IS: LayerForm = { compression: "uncompressed", force: false };
const GZIP: LayerForm = { compression: "gzip", force: false };

/** Makes what a build was asked for of its roots: images, archives, folders, caches. */
export function createResults(ports: ResultsPorts): BuildResults {
  return {
    check: (request) => {
      readOutputs(request);
      readCacheTargets(request);
      checkCacheSources(request);
      ports.attestor?.check(request);
    },
    export: (input) => exportResults(ports, input),
    ahead: (request, targets) => {
      const wanted = readOutputs(request).some(({ type }) => type === "image" || type === "layout");
      const rows = wanted ? targets.flatMap(({ history }) => history) : [];
      const vertices = new Set(rows.flatMap(({ vertex }) => vertex ?? []));
      return new LayersAhead(vertices, () => ports.images.assemble());
    },
    imports: (request, options) => importsOf(ports, request, options),
  };
}

async function importsOf(
  ports: ResultsPorts,
  request: BuildRequest,
  options: BuildOptions,
): Promise<readonly CacheImport[]> {
  const { images, platform, roots } = ports;
  return importCaches(request, options, {
    assemble: () => images.assemble(),
    localImage: (name) => images.layersOf(name),
    hold: (snapshot) => roots.snapshot(snapshot),
    platform,
    archives: ports.archives,
  });
}

async function exportResults(ports: ResultsPorts, input: ExportInput): Promise<Exported> {
  const outputs = readOutputs(input.request);
  const caches = readCacheTargets(input.request);
  await using assembly = await ports.images.assemble();
  const exporting = new Exporting(ports, input, assembly);
  exporting.tellProvenance();
  for (const [index, output] of outputs.entries()) await exporting.write(output, String(index));
  for (const cache of caches) {
    const told = await exportCache(cache, {
      request: input.request,
      steps: input.steps,
      snapshots: () => new Set(input.targets.flatMap(({ root }) => root?.layers.map(({ snapshot }) => snapshot) ?? [])),
      chainOf: (snapshot) => chainOf(ports.snapshots, snapshot),
      assembly,
      mounts: ports.archives && { ids: mountIds(input.graph), archives: ports.archives },
      onEvent: input.onEvent,
      signal: input.signal,
    });
    for (const [key, value] of told) exporting.metadata.set(key, value);
  }
  const { config, imageId, metadata } = exporting;
  return { metadata, imageId, ...(config !== undefined && { config }) };
}

function mountIds(graph: Graph | undefined): string[] {
  const ids = new Set<string>();
  for (const { operation } of graph?.vertices ?? []) {
    if (operation.kind !== "exec") continue;
    for (const mount of operation.mounts) if (mount.type === "cache") ids.add(mount.id);
  }
  return [...ids].sort();
}

function chainOf(snapshots: Pick<Snapshotter, "info">, top: string): string[] {
  const names: string[] = [];
  for (let next: string | undefined = top; next !== undefined; next = snapshots.info(next)?.parent) names.unshift(next);
  return names;
}

/** One build's way out: images are made once for all outputs that want them alike. */
class Exporting {
  readonly metadata = new Map<string, string>();
  imageId: string | undefined;
  config: Exported["config"];
  readonly #ports: ResultsPorts;
  readonly #input: ExportInput;
  readonly #assembly: ImageAssembly;
  readonly #images = new Map<string, Promise<BuiltImage>>();

  constructor(ports: ResultsPorts, input: ExportInput, assembly: ImageAssembly) {
    this.#ports = ports;
    this.#input = input;
    this.#assembly = assembly;
  }

  /** As BuildKit's clients show it. */
  tellProvenance(): void {
    const { targets } = this.#input;
    for (const solved of targets) {
      const told = this.#ports.attestor?.told(this.#input, solved);
      if (told === undefined) return;
      const end = targets.length === 1 ? "" : `/${formatPlatform(solved.target.platform)}`;
      this.metadata.set(`buildx.build.provenance${end}`, Buffer.from(told).toString("base64"));
    }
  }

  /** `id` is the output's number. */
  async write(output: Output, id: string): Promise<void> {
    const { onEvent, request } = this.#input;
    const progress = new ResultProgress(onEvent, nameOf(output), `${request.id} ${id}`);
    if (output.type === "cacheonly") return;
    await progress.run(async () => {
      if (output.type === "tree") await this.#writeTree(output, id, progress);
      else if (output.type === "layout") await this.#writeLayout(output, id, progress);
      else await this.#writeImage(output, progress);
    });
  }

  async #writeImage(output: ImageOutput, progress: ResultProgress): Promise<void> {
    const { image: fields } = output;
    const { targets } = this.#input;
    // Before it has another name it is to be on the disk. That goes on beside the packing; who renames is told of a failure.
    if (output.store) this.#ports.settle().catch(() => {});
    const images = await progress.step("exporting layers", () => this.#build(fields, targets));
    let contents: ImagePackage | undefined;
    if (output.store && this.#isIndex(output)) {
      contents = await this.#package(images, fields, GZIP);
      await this.#storeIndex(output, images, contents, progress);
    } else if (output.store) await this.#store(output, images, progress);
    for (const name of output.push ? fields.names : []) await this.#push(output, images, contents, name, progress);
    if (!output.store && !output.push) {
      const unkept = await this.#package(images, fields, AS_IS);
      this.#tell(unkept.top, unkept, fields);
    }
  }

  /**
   * Whether what the store keeps is an index: of several platforms, or with what was asked to be attested. What is meant
   * for indexes alone is kept where the image gets one anyway.
   */
  #isIndex({ image, push }: ImageOutput): boolean {
    const { request, targets } = this.#input;
    const withInline = push && image.inlineAttestations;
    return targets.length > 1 || this.#ports.attestor?.isAsked(request, { withInline }) === true;
  }

  /** In the form that it is pushed in, so that a push has the same digest whenever it comes. */
  async #storeIndex(
    output: ImageOutput,
    images: readonly BuiltImage[],
    contents: ImagePackage,
    progress: ResultProgress,
  ): Promise<void> {
    const { image: fields } = output;
    const { signal } = this.#input;
    const bytes = new Map(contents.manifests.map((one) => [one.descriptor.digest, one.bytes]));
    const document = contents.manifests.at(-1)!;
    const own = new Set(contents.images.map(({ manifest }) => manifest.digest));
    const others = contents.manifests.slice(0, -1).filter(({ descriptor }) => !own.has(descriptor.digest));
    for (const { manifest } of contents.images) progress.told(`exporting manifest ${manifest.digest}`);
    for (const { config } of contents.images) progress.told(`exporting config ${config.digest}`);
    for (const { descriptor } of others) progress.told(`exporting attestation manifest ${descriptor.digest}`);
    progress.told(`exporting manifest list ${contents.top.digest}`);
    const names = namesOf(output, contents.top.digest);
    const kept = contents.images.map(({ image, layers, manifest }) => {
      const manifestBytes = bytes.get(manifest.digest)!;
      return {
        config: image.config,
        configBytes: image.configBytes,
        layers: image.layers.map((layer, index) => ({ ...layer, blob: layers[index]! })),
        manifestBytes,
        annotations: annotationsOf(manifestBytes),
      };
    });
    await progress.step(`writing image ${contents.top.digest}`, () =>
      this.#assembly.keepIndex({ images: kept, others, document, names, signal }, this.#ports.rename),
    );
    for (const name of names) progress.told(`naming to ${formatReference(name)}`);
    const { config } = contents.images.find(({ image }) => image === ownImage(images, this.#ports.platform))!;
    this.imageId = config.digest;
    this.#tell(contents.top, contents, fields);
    this.#name(fields.names);
  }

  async #store(output: ImageOutput, images: readonly BuiltImage[], progress: ResultProgress): Promise<void> {
    const { image: fields } = output;
    const image = ownImage(images, this.#ports.platform);
    const { signal } = this.#input;
    const form = fields.form ?? AS_IS;
    const layers = await Promise.all(
      image.layers.map(async (layer) => ({ ...layer, blob: await this.#assembly.form(layer, form, { signal }) })),
    );
    const config = describe(configType(fields), image.configBytes);
    const blobs = layers.map(({ blob }) => blob);
    const manifest = manifestFor(config, blobs, fields, formatPlatform(image.platform));
    const { digest } = manifest.descriptor;
    // Both at once: each is synced.
    await Promise.all([
      this.#assembly.document(config.mediaType, image.configBytes),
      this.#assembly.document(manifest.descriptor.mediaType, manifest.bytes),
    ]);
    progress.told(`exporting manifest ${digest}`);
    progress.told(`exporting config ${config.digest}`);
    const names = namesOf(output, digest);
    const { manifest: stored } = await progress.step(`writing image ${config.digest}`, () =>
      this.#assembly.keep(
        {
          config: image.config,
          configBytes: image.configBytes,
          layers,
          manifestBytes: manifest.bytes,
          annotations: annotationsOf(manifest.bytes),
          names,
          signal,
        },
        this.#ports.rename,
      ),
    );
    for (const name of names) progress.told(`naming to ${formatReference(name)}`);
    this.imageId = config.digest;
    this.config = { mediaType: config.mediaType, bytes: image.configBytes };
    this.metadata.set("containerimage.config.digest", config.digest);
    this.metadata.set("containerimage.digest", stored.digest);
    this.#describe({ ...stored, ...platformed(image) }, fields);
    this.#name(fields.names);
  }

  async #push(
    output: ImageOutput,
    images: readonly BuiltImage[],
    stored: ImagePackage | undefined,
    name: Reference,
    progress: ResultProgress,
  ): Promise<void> {
    const { image: fields } = output;
    const { request, signal } = this.#input;
    let contents = stored;
    const shared = images.flatMap(({ baseCount, layers }) => layers.slice(0, baseCount).map(({ blob }) => blob.digest));
    const push = async () =>
      this.#assembly.push(
        name,
        {
          credentials: await request.credentialsOf(name.domain),
          insecure: output.insecure,
          byDigest: output.pushByDigest,
          shared,
          isImage: true,
          onManifest: () => progress.told(`pushing manifest for ${formatReference(name)}`),
        },
        { signal, onProgress: () => {} },
        async (isThere) => {
          contents = stored ?? (await this.#package(images, fields, GZIP, isThere));
          return contents;
        },
      );
    const top = await progress.step("pushing layers", push).catch((error: unknown) => {
      if (!(error instanceof GantryError) || error.kind === "cancelled") throw error;
      throw new GantryError(error.kind, `failed to push ${formatReference(name)}: ${error.message}`, { cause: error });
    });
    const own = contents?.images.find(({ image }) => image === ownImage(images, this.#ports.platform));
    if (output.store && own !== undefined) {
      this.#assembly.nameByDigest(own.config.digest, name, stored === undefined ? own.manifest.digest : top.digest);
    }
    if (contents !== undefined) this.#tell({ ...contents.top, digest: top.digest }, contents, fields);
    this.#name(fields.names);
  }

  async #writeLayout(output: Extract<Output, { type: "layout" }>, id: string, progress: ResultProgress): Promise<void> {
    const session = this.#session(`an output of type ${output.variant}`);
    const { image: fields, variant } = output;
    const { signal, targets } = this.#input;
    const images = await progress.step("exporting layers", () => this.#build(fields, targets));
    const contents = await this.#package(images, fields, GZIP);
    if (variant === "docker" && contents.manifests.length > 1) {
      throw new GantryError("invalid", "docker exporter does not currently support exporting manifest lists");
    }
    for (const { descriptor } of contents.manifests) progress.told(`exporting manifest ${descriptor.digest}`);
    for (const { config } of contents.images) progress.told(`exporting config ${config.digest}`);
    this.#tell(contents.top, contents, fields);
    this.#name(fields.names);
    const top = { ...contents.top, annotations: { ...contents.top.annotations, ...this.#created(fields) } };
    if (!output.tar) {
      await progress.step("sending layout", () =>
        sendLayout(this.#assembly, contents, session.content("export"), signal),
      );
      return;
    }
    const tar = layoutTar(this.#assembly, contents, top, { names: fields.names, docker: variant === "docker" });
    await progress.step("sending tarball", () => session.sendFile(id, tar, Object.fromEntries(this.metadata), signal));
  }

  async #writeTree(output: TreeOutput, id: string, progress: ResultProgress): Promise<void> {
    const session = this.#session(`an output of type ${output.as}`);
    const { signal, targets } = this.#input;
    const { attestor, tempRoot } = this.#ports;
    await withTemporary(tempRoot, async (folder) => {
      const trees: Tree[] = [];
      for (const [index, solved] of targets.entries()) {
        const occasion = { names: [], withInline: false, file: join(folder, String(index)) };
        trees.push({ solved, attestations: (await attestor?.attest(this.#input, solved, occasion)) ?? [] });
      }
      const options = { output, tempRoot, signal };
      if (output.as === "local") {
        await progress.step("copying files", () => sendFolders(session, id, trees, options));
      } else {
        await progress.step("sending tarball", () =>
          session.sendFile(id, treeTar(trees, options), Object.fromEntries(this.metadata), signal),
        );
      }
    });
  }

  #session(what: string): BuildSession {
    const { session } = this.#input.request;
    if (session === undefined) {
      throw new GantryError("invalid", `${what} needs a client with a session: this request came without one`);
    }
    return session;
  }

  async #build(fields: ImageFields, targets: readonly SolvedTarget[]): Promise<readonly BuiltImage[]> {
    const images: BuiltImage[] = [];
    for (const solved of targets) {
      const { epoch, rewriteTimestamps } = fields;
      const index = this.#input.targets.indexOf(solved);
      const key = JSON.stringify([index, epoch ?? "", rewriteTimestamps]);
      let image = this.#images.get(key);
      if (image === undefined) {
        image = buildImage(this.#assembly, solved, {
          epoch,
          rewriteTimestamps,
          request: this.#input.request,
          inlineCache: this.#inlineCache(),
          squash: (layers, below, options) => squash(this.#ports, this.#assembly, layers, below, options),
          signal: this.#input.signal,
        });
        this.#images.set(key, image);
      }
      images.push(await image);
    }
    return images;
  }

  #inlineCache(): InlineCache | undefined {
    if (!wantsInline(this.#input.request)) return undefined;
    const chain = (snapshot: string): readonly string[] => chainOf(this.#ports.snapshots, snapshot);
    return (layers, empty) => {
      const steps: readonly CachedStep[] = this.#input.steps();
      return inlineRecords(steps, layers, chain, (snapshot) => empty.has(snapshot));
    };
  }

  #package(
    images: readonly BuiltImage[],
    fields: ImageFields,
    defaultForm: LayerForm,
    isThere?: (digest: string) => Promise<boolean>,
  ): Promise<ImagePackage> {
    const { attestor } = this.#ports;
    const occasion = { names: fields.names.map(formatReference), withInline: fields.inlineAttestations };
    return packageImages(this.#assembly, images, {
      fields,
      defaultForm,
      signal: this.#input.signal,
      ...(isThere !== undefined && { isThere }),
      attest: async (one) => (await attestor?.attest(this.#input, one.image.target, { ...occasion, image: one })) ?? [],
    });
  }

  #tell(top: Descriptor, contents: ImagePackage, fields: ImageFields): void {
    const [first] = contents.images;
    this.metadata.set("containerimage.digest", top.digest);
    if (contents.manifests.length === 1 && first !== undefined) {
      this.metadata.set("containerimage.config.digest", first.config.digest);
    }
    this.#describe(top, fields);
  }

  #describe(top: Descriptor, fields: ImageFields): void {
    const described = { ...top, annotations: { ...top.annotations, ...this.#created(fields) } };
    this.metadata.set("containerimage.descriptor", Buffer.from(JSON.stringify(described)).toString("base64"));
  }

  #created({ epoch }: ImageFields): Record<string, string> {
    const time = epoch === undefined ? Date.now() : epoch * 1000;
    return { "org.opencontainers.image.created": new Date(time).toISOString().replace(/\.\d+Z$/, "Z") };
  }

  #name(names: readonly Reference[]): void {
    if (names.length > 0) this.metadata.set("image.name", names.map(formatReference).join(","));
  }
}

function nameOf(output: Output): string {
  if (output.type === "image") return "exporting to image";
  if (output.type === "layout") return `exporting to ${output.variant} image format`;
  return output.type === "tree" && output.as === "tar"
    ? "exporting to client tarball"
    : "exporting to client directory";
}

/** The image for the machine, or else the first. */
function ownImage(images: readonly BuiltImage[], platform: Platform): BuiltImage {
  const own = formatPlatform(platform);
  return images.find((image) => formatPlatform(image.platform) === own) ?? images[0]!;
}

/** The names that an image gets in the store. */
function namesOf(
  { danglingEmptyOnly, danglingPrefix, image, nameCanonical }: ImageOutput,
  digest: string,
): Reference[] {
  const names = [...image.names];
  if (nameCanonical) names.push(...image.names.map((name) => byDigest(name, digest)));
  if (danglingPrefix !== undefined && !(danglingEmptyOnly && image.names.length > 0)) {
    names.push(byDigest(parseNormalized(danglingPrefix), digest));
  }
  return names;
}

function byDigest({ domain, path }: Reference, digest: string): Reference {
  return { domain, path, digest };
}

function annotationsOf(manifest: Uint8Array): Readonly<Record<string, string>> | undefined {
  return (JSON.parse(Buffer.from(manifest).toString()) as { annotations?: Record<string, string> }).annotations;
}

function platformed({ config }: BuiltImage): Pick<Descriptor, "platform"> {
  const { architecture, os, variant } = config;
  return { platform: { architecture, os, ...(variant !== undefined && { variant }) } };
}

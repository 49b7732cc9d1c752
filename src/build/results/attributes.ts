import { GantryError } from "../../base/errors.ts";
import { requireName } from "../../images/assemble.ts";
import type { LayerForm } from "../../images/layer-forms.ts";
import { formatPlatform, parsePlatform } from "../../oci/platform.ts";
import { parseNormalized, type Reference, tagNameOnly } from "../../oci/reference.ts";
import type { BuildOutput, BuildRequest } from "../builder.ts";

/** An output with its attributes read and checked. */
export type Output =
  | ImageOutput
  | { readonly type: "layout"; readonly variant: "oci" | "docker"; readonly tar: boolean; readonly image: ImageFields }
  | TreeOutput
  | { readonly type: "cacheonly" };

/** Into the store, to a registry, or both. */
export interface ImageOutput {
  readonly type: "image";
  readonly image: ImageFields;
  readonly store: boolean;
  readonly push: boolean;
  readonly pushByDigest: boolean;
  readonly insecure: boolean;
  readonly nameCanonical: boolean;
  readonly danglingPrefix: string | undefined;
  /** The dangling name is for images without another one. */
  readonly danglingEmptyOnly: boolean;
}

/** Files as they are. */
export interface TreeOutput {
  readonly type: "tree";
  readonly as: "local" | "tar";
  /** A folder for each platform; undefined is so for several. */
  readonly platformSplit: boolean | undefined;
  readonly attestationPrefix: string;
  readonly epoch: number | undefined;
}

/** What the documents and layers of an image are like. */
export interface ImageFields {
  readonly names: readonly Reference[];
  /** Undefined leaves layers made here as they are in the store, and compresses them elsewhere. */
  readonly form: LayerForm | undefined;
  readonly ociTypes: boolean;
  readonly ociArtifact: boolean;
  /** Unix seconds. */
  readonly epoch: number | undefined;
  /** Files are no younger than the epoch. */
  readonly rewriteTimestamps: boolean;
  readonly annotations: readonly Annotation[];
  /** Also statements that are meant for indexes in registries alone. */
  readonly inlineAttestations: boolean;
}

export interface Annotation {
  readonly on: "manifest" | "manifest-descriptor" | "index" | "index-descriptor";
  /** `linux/arm64`; undefined is every one. */
  readonly platform: string | undefined;
  readonly key: string;
  readonly value: string;
}

const ANNOTATION = /^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$/;
const ANNOTATED: ReadonlySet<string> = new Set(["manifest", "manifest-descriptor", "index", "index-descriptor"]);
const COMPRESSIONS: ReadonlySet<string> = new Set(["uncompressed", "gzip", "zstd"]);
const LEVELS: Readonly<Record<LayerForm["compression"], readonly [number, number]>> = {
  uncompressed: [0, 0],
  gzip: [0, 9],
  zstd: [1, 22],
};
const IMAGE_FIELDS = [
  "name",
  "oci-mediatypes",
  "oci-artifact",
  "compression",
  "compression-level",
  "force-compression",
  "rewrite-timestamp",
  "source-date-epoch",
  "attestation-inline",
  "prefer-nondist-layers",
];
const KNOWN: Readonly<Record<Output["type"] | "local" | "tar", readonly string[]>> = {
  image: [
    ...IMAGE_FIELDS,
    "push",
    "push-by-digest",
    "registry.insecure",
    "name-canonical",
    "dangling-name-prefix",
    "danging-name-empty-only",
    "store",
    "unpack",
  ],
  layout: [...IMAGE_FIELDS, "tar"],
  tree: [],
  local: ["platform-split", "attestation-prefix", "source-date-epoch", "mode"],
  tar: ["platform-split", "attestation-prefix", "source-date-epoch"],
  cacheonly: [],
};

/** Reads the outputs of a request; throws `invalid` for what can't be, naming what can. */
export function readOutputs(request: BuildRequest): readonly Output[] {
  return request.outputs.map((output) => readOutput(output, request));
}

function readOutput({ type, attributes }: BuildOutput, request: BuildRequest): Output {
  const read = new Attributes(type, attributes);
  if (type === "cacheonly") {
    read.refuseOthers(KNOWN.cacheonly);
    return { type };
  }
  if (type === "local" || type === "tar") {
    read.refuseOthers(KNOWN[type]);
    const mode = read.text("mode") ?? "copy";
    if (mode !== "copy") {
      throw read.error(`mode=${mode} is not supported: files of the output are laid over what is there (mode=copy)`);
    }
    return {
      type: "tree",
      as: type,
      platformSplit: read.optionalFlag("platform-split"),
      attestationPrefix: read.text("attestation-prefix") ?? "",
      epoch: read.epoch() ?? request.sourceDateEpoch,
    };
  }
  if (type === "oci" || type === "docker") {
    read.refuseOthers(KNOWN.layout, { annotations: true });
    const tar = read.flag("tar", true);
    if (type === "docker" && request.platforms.length > 1) {
      throw read.error("docker exporter does not currently support exporting manifest lists");
    }
    return { type: "layout", variant: type, tar, image: imageFields(read, request, false) };
  }
  read.refuseOthers(KNOWN.image, { annotations: true });
  const image = imageFields(read, request, true);
  const push = read.flag("push", type === "registry");
  const pushByDigest = read.flag("push-by-digest", false);
  read.flag("unpack", true);
  const store = read.flag("store", type === "image");
  if (push && image.names.length === 0) throw read.error("tag is needed when pushing to registry");
  if (pushByDigest) {
    const tagged = read.names().find(({ tag }) => tag !== undefined);
    if (tagged !== undefined) throw read.error(`can't push tagged ref ${read.text("name")} by digest`);
  }
  if (image.names.some(({ digest }) => digest !== undefined)) {
    throw read.error("refusing to create a tag with a digest reference");
  }
  return {
    type: "image",
    image,
    store,
    push,
    pushByDigest,
    insecure: read.flag("registry.insecure", false),
    nameCanonical: read.flag("name-canonical", false),
    danglingPrefix: read.text("dangling-name-prefix"),
    danglingEmptyOnly: read.flag("danging-name-empty-only", false),
  };
}

function imageFields(read: Attributes, request: BuildRequest, isRegistry: boolean): ImageFields {
  const form = read.form();
  const ociTypes = read.flag("oci-mediatypes", true);
  const ociArtifact = read.flag("oci-artifact", false);
  if (!ociTypes && form?.compression === "zstd") {
    throw read.error('exporter option "compression=zstd" conflicts with "oci-mediatypes=false"');
  }
  if (!ociTypes && ociArtifact) {
    throw read.error('exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"');
  }
  if (read.flag("prefer-nondist-layers", false)) {
    throw read.error("prefer-nondist-layers is not supported: foreign layers stay what they are");
  }
  const inlineAttestations = read.flag("attestation-inline", isRegistry);
  const annotations = read.annotations();
  if (!ociTypes && annotations.length > 0) {
    throw read.error('cannot export annotations with "oci-mediatypes=false"');
  }
  const platforms = request.platforms.map((each) => formatPlatform(each));
  for (const { platform } of annotations) {
    if (platform !== undefined && platforms.length > 0 && !platforms.includes(platform)) {
      throw read.error(`invalid annotation: no platform ${platform} found in source`);
    }
  }
  const epoch = read.epoch() ?? request.sourceDateEpoch;
  const rewriteTimestamps = read.flag("rewrite-timestamp", epoch !== undefined) && epoch !== undefined;
  const names = read.names().map((name) => requireName(tagNameOnly(name)));
  return { names, form, ociTypes, ociArtifact, epoch, rewriteTimestamps, annotations, inlineAttestations };
}

/** `compression`, `compression-level` and `force-compression`, of outputs and of caches. */
export function readForm(kind: string, attributes: ReadonlyMap<string, string>): LayerForm | undefined {
  return new Attributes(kind, attributes).form();
}

/** A flag as Go's ParseBool reads it; a name without a value is true. */
export function readFlag(
  kind: string,
  attributes: ReadonlyMap<string, string>,
  name: string,
  otherwise: boolean,
): boolean {
  return new Attributes(kind, attributes).flag(name, otherwise);
}

class Attributes {
  readonly #type: string;
  readonly #values: ReadonlyMap<string, string>;

  constructor(type: string, values: ReadonlyMap<string, string>) {
    this.#type = type;
    this.#values = values;
  }

  error(why: string): GantryError {
    return new GantryError("invalid", why);
  }

  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return value === "" ? undefined : value;
  }

  refuseOthers(known: readonly string[], { annotations = false } = {}): void {
    for (const name of this.#values.keys()) {
      // Where the client puts it is for the client alone; some send it all the same.
      if (name === "dest" || known.includes(name)) continue;
      // Those of `--annotation` come with outputs of every type, whatever has a use for them.
      if (annotations ? name.startsWith("annotation") : ANNOTATION.test(name)) continue;
      const all = [...known, ...(annotations ? ["annotation.KEY"] : [])];
      const offered = all.length === 0 ? "it has none" : `it has ${all.sort().join(", ")}`;
      throw this.error(`unknown attribute ${JSON.stringify(name)} of output type ${this.#type}: ${offered}`);
    }
  }

  optionalFlag(name: string): boolean | undefined {
    return this.#values.has(name) ? this.flag(name, true) : undefined;
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.#values.get(name);
    if (value === undefined) return otherwise;
    if (value === "" || /^(1|t|T|true|TRUE|True)$/.test(value)) return true;
    if (/^(0|f|F|false|FALSE|False)$/.test(value)) return false;
    throw this.error(`non-bool value specified for ${name}: ${JSON.stringify(value)}`);
  }

  epoch(): number | undefined {
    const value = this.text("source-date-epoch");
    if (value === undefined) return undefined;
    const seconds = Number(value);
    if (!/^[0-9]{1,11}$/.test(value) || !Number.isSafeInteger(seconds)) {
      throw this.error(`invalid source-date-epoch: ${JSON.stringify(value)} is no number of seconds since 1970`);
    }
    return seconds;
  }

  names(): Reference[] {
    const text = this.text("name");
    // What a frontend would name itself: this one names nothing.
    if (text === undefined || text === "*") return [];
    return text.split(",").map((name) => {
      try {
        return parseNormalized(name.trim());
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new GantryError("invalid", `failed to parse ${name}: ${why}`, { cause });
      }
    });
  }

  form(): LayerForm | undefined {
    const compression = this.text("compression");
    const level = this.text("compression-level");
    const force = this.flag("force-compression", false);
    if (compression === "estargz") {
      throw this.error(
        "compression=estargz is not supported: use gzip or zstd, or convert the image with a tool for lazy pulling",
      );
    }
    if (compression !== undefined && !COMPRESSIONS.has(compression)) {
      throw this.error(`unsupported compression type ${compression}: it must be uncompressed, gzip or zstd`);
    }
    if (compression === undefined && level === undefined && !force) return undefined;
    const type = (compression ?? "gzip") as LayerForm["compression"];
    if (level === undefined) return { compression: type, force };
    const number = Number(level);
    const [least, most] = LEVELS[type];
    if (!/^-?[0-9]{1,3}$/.test(level)) {
      throw this.error(`non-integer value ${level} specified for compression-level`);
    }
    // As Go's compressors take them: -1 is their own choice, and what is too much is the most there is.
    if (number < 0 || type === "uncompressed") return { compression: type, force };
    return { compression: type, level: Math.min(Math.max(number, least), most), force };
  }

  annotations(): Annotation[] {
    const found: Annotation[] = [];
    for (const [name, value] of this.#values) {
      if (!name.startsWith("annotation")) continue;
      const [, on = "manifest", platform, key] = ANNOTATION.exec(name) ?? [];
      if (key === undefined || !ANNOTATED.has(on)) {
        throw this.error(
          `unrecognized annotation type of ${JSON.stringify(name)}: it must be annotation[-TYPE][PLATFORM].KEY, and the type manifest, manifest-descriptor, index or index-descriptor`,
        );
      }
      found.push({
        on: on as Annotation["on"],
        platform: platform === undefined ? undefined : formatPlatform(parsePlatform(platform)),
        key,
        value,
      });
    }
    return found;
  }
}

/** The annotations of one kind for a platform: those of every platform, then its own. */
export function annotationsFor(
  annotations: readonly Annotation[],
  on: Annotation["on"],
  platform: string | undefined,
): Readonly<Record<string, string>> | undefined {
  const chosen = annotations.filter(
    (each) => each.on === on && (each.platform === undefined || each.platform === platform),
  );
  if (chosen.length === 0) return undefined;
  const sorted = chosen.toSorted(
    (one, other) => Number(one.platform !== undefined) - Number(other.platform !== undefined),
  );
  const merged = Object.fromEntries(sorted.map(({ key, value }) => [key, value]));
  return Object.fromEntries(Object.entries(merged).sort(([one], [other]) => (one < other ? -1 : 1)));
}

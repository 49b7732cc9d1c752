import * as v from "valibot";
import { GantryError } from "../base/errors.ts";
import { sha256Of } from "./digest.ts";
import { isAnyDigest } from "./digest-format.ts";
import type { Descriptor, ImageConfig, Index, Manifest } from "./image.ts";
import { excessOf, type JsonBounds } from "./json-bounds.ts";

/** No JSON document of an image is larger than this, in bytes. */
export const MAX_DOCUMENT = 8 << 20;

const sha256 = v.pipe(v.string(), v.regex(/^sha256:[a-f0-9]{64}$/, "not a sha256 digest"));
/** What becomes an argument, a variable or a path of a process can't hold what ends one. */
const plain = v.pipe(
  v.string(),
  v.check((text) => !text.includes("\0"), "it has a NUL character"),
);
const strings = v.nullish(v.array(plain));
const set = v.nullish(v.record(plain, v.unknown()));
const volumes = v.nullish(
  v.record(
    v.pipe(
      plain,
      v.check((path) => !coversRoot(path), "a volume cannot take the place of the root folder"),
      v.check((path) => !path.split("/").includes(".."), 'a volume\'s path cannot have ".."'),
    ),
    v.unknown(),
  ),
);
const time = v.pipe(
  v.string(),
  v.check((text) => text === "" || !Number.isNaN(Date.parse(text)), "not a time"),
);
const nanoseconds = v.nullish(v.pipe(v.number(), v.integer()));
/** The kernel stacks no more in one overlay (OVL_MAX_STACK). */
export const MOST_LAYERS = 500;
const TOO_DEEP = `max depth exceeded: more than ${MOST_LAYERS} layers`;
/** Entries of a document that names others. */
const MOST_ENTRIES = 4096;
const MOST_HISTORY = 10_000;
/** No tool writes documents of more; what has too many layers is still told so. */
const BOUNDS: JsonBounds = { depth: 100, members: 10_000, values: 200_000 };
const layerIds = v.pipe(fewerThan(MOST_LAYERS, TOO_DEEP), v.array(sha256));
const platform = v.looseObject({
  architecture: v.string(),
  os: v.string(),
  variant: v.optional(v.string()),
  "os.version": v.optional(v.string()),
});
const descriptor = v.looseObject({
  mediaType: v.optional(v.string(), ""),
  digest: sha256,
  size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  platform: v.nullish(platform),
  annotations: v.nullish(v.record(v.string(), v.string())),
});
/** What a manifest may refer to; its digest becomes part of a tag. */
const subject = v.looseObject({
  digest: v.pipe(v.string(), v.maxLength(256), v.check(isAnyDigest, "not a digest")),
});
/** What manifests and indexes have in common as artifacts. */
const artifact = {
  artifactType: v.optional(v.string()),
  subject: v.nullish(subject),
  annotations: v.nullish(v.record(v.string(), v.string())),
};
const imageProcess = v.looseObject({
  Hostname: v.optional(plain),
  Domainname: v.optional(plain),
  User: v.optional(plain),
  ExposedPorts: set,
  Env: strings,
  Entrypoint: strings,
  Cmd: strings,
  Volumes: volumes,
  WorkingDir: v.optional(plain),
  Labels: v.nullish(v.record(v.string(), v.string())),
  StopSignal: v.optional(plain),
  StopTimeout: v.nullish(v.pipe(v.number(), v.integer())),
  Healthcheck: v.nullish(
    v.looseObject({
      Test: strings,
      Interval: nanoseconds,
      Timeout: nanoseconds,
      StartPeriod: nanoseconds,
      StartInterval: nanoseconds,
      Retries: v.nullish(v.pipe(v.number(), v.integer())),
    }),
  ),
  OnBuild: strings,
  Shell: strings,
});
const history = v.looseObject({
  created: v.nullish(time),
  created_by: v.optional(v.string()),
  author: v.optional(v.string()),
  comment: v.optional(v.string()),
  empty_layer: v.optional(v.boolean()),
});
const imageConfig = v.looseObject({
  architecture: v.optional(v.string(), ""),
  os: v.optional(v.string(), ""),
  created: v.nullish(time),
  author: v.optional(v.string()),
  config: v.nullish(imageProcess),
  rootfs: v.looseObject({ type: v.literal("layers"), diff_ids: v.nullish(layerIds) }),
  history: v.nullish(v.pipe(fewerThan(MOST_HISTORY, `more than ${MOST_HISTORY} entries`), v.array(history))),
});
const manifest = v.looseObject({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string()),
  ...artifact,
  config: descriptor,
  layers: v.pipe(fewerThan(MOST_ENTRIES, TOO_DEEP), v.array(descriptor)),
});
const index = v.looseObject({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string()),
  ...artifact,
  manifests: v.pipe(fewerThan(MOST_ENTRIES, `more than ${MOST_ENTRIES} entries`), v.array(descriptor)),
});

/**
 * Reads an image's config (image-spec, config.md). Nulls become absent; an empty `os` is linux. Throws `invalid`.
 * Fields that aren't known are kept.
 */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const {
    config,
    created,
    history: rows,
    rootfs,
    ...rest
  } = checked(imageConfig, parseDocument(bytes, "image configuration"), "image configuration");
  return {
    ...rest,
    os: rest.os === "" ? "linux" : rest.os,
    ...(created != null && { created }),
    ...(config != null && { config: config as ImageConfig["config"] }),
    ...(rows != null && {
      history: rows.map(({ created: at, ...row }) => ({ ...row, ...(at != null && { created: at }) })),
    }),
    rootfs: { type: "layers", diff_ids: rootfs.diff_ids ?? [] },
  };
}

/** Reads an image manifest, OCI's or Docker's schema 2. Throws `invalid`. */
export function parseManifest(bytes: Uint8Array): Manifest {
  return manifestOf(parseDocument(bytes, "image manifest"));
}

/** The same of what was parsed. */
export function manifestOf(document: unknown): Manifest {
  return checked(manifest, document, "image manifest") as Manifest;
}

/** Reads an image index, OCI's or Docker's manifest list. Throws `invalid`. */
export function parseIndex(bytes: Uint8Array): Index {
  return indexOf(parseDocument(bytes, "image index"));
}

/** The same of what was parsed. */
export function indexOf(document: unknown): Index {
  return checked(index, document, "image index") as Index;
}

/** Parses a bounded JSON document against a schema; `what` names it in the error, which is `invalid`. */
export function readDocument<T>(schema: v.GenericSchema<unknown, T>, bytes: Uint8Array, what: string): T {
  return checked(schema, parseDocument(bytes, what), what);
}

/** Parses a JSON document of a document's length; `what` names it in the error, which is `invalid`. */
export function parseDocument(bytes: Uint8Array, what: string): unknown {
  const steps = parseDocumentInSteps(bytes, what);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The same of one that may be large: yields, so that others can have their turn. */
export function* parseDocumentInSteps(bytes: Uint8Array, what: string): Generator<void, unknown> {
  if (bytes.length > MAX_DOCUMENT) {
    throw new GantryError("invalid", `invalid ${what}: it is larger than ${MAX_DOCUMENT} bytes`);
  }
  const excess = excessOf(bytes, BOUNDS);
  if (excess !== undefined) throw new GantryError("invalid", `invalid ${what}: ${excess}`);
  yield;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new GantryError("invalid", `invalid ${what}: it is not JSON`, { cause });
  }
}

/** Holds a value against a schema; the error is `invalid`. */
export function checked<T>(schema: v.GenericSchema<unknown, T>, value: unknown, what: string): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = v.getDotPath(issue);
  throw new GantryError("invalid", `invalid ${what}: ${path === null ? "" : `${path}: `}${issue.message}`);
}

/** A descriptor of a document that is held as bytes. */
export function describe(mediaType: string, bytes: Uint8Array): Descriptor {
  return { mediaType, digest: sha256Of(bytes), size: bytes.length };
}

/** "/", and what is the same by another spelling. */
function coversRoot(path: string): boolean {
  return path.split("/").every((part) => part === "" || part === ".");
}

/** Before the entries are looked at: of a hundred thousand each would be. */
function fewerThan(most: number, message: string) {
  return v.pipe(
    v.unknown(),
    v.check((list) => !Array.isArray(list) || list.length <= most, message),
  );
}

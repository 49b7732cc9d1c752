import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import { formatReference, type Reference } from "../../oci/reference.ts";
import { compactJson, escapedJson } from "../output/json.ts";

const MOST_BYTES = 16 << 20;

export interface ManifestPlatform {
  readonly architecture: string;
  readonly os: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
  readonly variant?: string;
}

/** An image of a manifest list: what its registry has, and for which platform the list says it is. */
export interface ManifestEntry {
  /** Its name in full. */
  readonly ref: string;
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform: ManifestPlatform;
  /** The manifest's very bytes. */
  readonly raw: Buffer;
}

/** The field in which docker keeps the manifest itself, by its media type. */
const FIELDS: Readonly<Record<string, string>> = {
  "application/vnd.docker.distribution.manifest.v2+json": "SchemaV2Manifest",
  "application/vnd.oci.image.manifest.v1+json": "OCIManifest",
};

/** An entry as docker writes it, in one line. */
export function entryText(entry: ManifestEntry): string {
  const { ref, mediaType, digest, size, platform, raw } = entry;
  const head = escapedJson({ Ref: ref, Descriptor: { mediaType, digest, size, platform: ordered(platform) } });
  const field = FIELDS[mediaType];
  const manifest = field === undefined ? "" : `,"${field}":${compactJson(raw.toString("utf8"))}`;
  return `${head.slice(0, -1)},"Raw":"${raw.toString("base64")}"${manifest}}`;
}

/** The fields in the order of Go's type, without those that are empty and may be left out. */
export function ordered(platform: ManifestPlatform): ManifestPlatform {
  const { architecture, os, variant = "", "os.version": version = "", "os.features": features = [] } = platform;
  return {
    architecture,
    os,
    ...(version !== "" && { "os.version": version }),
    ...(features.length > 0 && { "os.features": features }),
    ...(variant !== "" && { variant }),
  };
}

/**
 * The manifest lists that were begun and not pushed yet, where docker keeps them:
 * `manifests/<name of the list>/<name of the image>`, with `:` and `/` of the names replaced.
 */
export class ManifestDrafts {
  readonly #root: string;

  constructor(configFolder: string) {
    this.#root = join(configFolder, "manifests");
  }

  has(list: Reference): boolean {
    return existsSync(this.#folderOf(list));
  }

  /** The entries of a list, by the names of their files; undefined if there is no such list. */
  list(list: Reference): readonly ManifestEntry[] | undefined {
    const folder = this.#folderOf(list);
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    }
    const files = names.filter((name) => !name.startsWith(".")).sort();
    return files.map((name) => readEntry(join(folder, name)));
  }

  entry(list: Reference, image: Reference): ManifestEntry | undefined {
    try {
      return readEntry(this.#fileOf(list, image));
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  write(list: Reference, image: Reference, entry: ManifestEntry): void {
    mkdirSync(this.#folderOf(list), { recursive: true, mode: 0o755 });
    const path = this.#fileOf(list, image);
    const temp = join(this.#folderOf(list), `.${process.pid}`);
    try {
      writeFileSync(temp, entryText(entry), { mode: 0o644 });
      renameSync(temp, path);
    } finally {
      rmSync(temp, { force: true });
    }
  }

  /** False if there was none. */
  remove(list: Reference): boolean {
    if (!this.has(list)) return false;
    rmSync(this.#folderOf(list), { recursive: true, force: true });
    return true;
  }

  #folderOf(list: Reference): string {
    return join(this.#root, fileName(formatReference(list)));
  }

  #fileOf(list: Reference, image: Reference): string {
    return join(this.#folderOf(list), fileName(formatReference(image)));
  }
}

/** Names have no slash left, and none of them begins with a dot. */
function fileName(reference: string): string {
  return reference.replaceAll(":", "-").replaceAll("/", "_");
}

function readEntry(path: string): ManifestEntry {
  const text = readFileSync(path, "utf8");
  if (text.length > MOST_BYTES) throw new GantryError("invalid", `cannot read ${path}: it is too long`);
  try {
    return parseEntry(JSON.parse(text));
  } catch (error) {
    throw new GantryError("invalid", `cannot read ${path}: ${messageOf(error)}`);
  }
}

function parseEntry(value: unknown): ManifestEntry {
  const { Ref, Descriptor, Raw, SchemaV2Manifest, OCIManifest } = recordOf(value, "the entry");
  const { mediaType, digest, size, platform } = recordOf(Descriptor, "its descriptor");
  const told = recordOf(platform ?? {}, "its platform");
  // Older clients kept only the manifest itself; theirs were written with three spaces a level.
  const older = SchemaV2Manifest ?? OCIManifest;
  const raw = Raw === undefined ? JSON.stringify(older, null, 3) : Buffer.from(text(Raw), "base64");
  if (typeof size !== "number") throw new Error("its size is no number");
  return {
    ref: text(Ref),
    mediaType: text(mediaType),
    digest: text(digest),
    size,
    platform: {
      architecture: text(told.architecture ?? ""),
      os: text(told.os ?? ""),
      "os.version": text(told["os.version"] ?? ""),
      "os.features": Array.isArray(told["os.features"]) ? told["os.features"].map(text) : [],
      variant: text(told.variant ?? ""),
    },
    raw: Buffer.from(raw ?? ""),
  };
}

function recordOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${what} is no JSON object`);
}

function text(value: unknown): string {
  if (typeof value === "string") return value;
  throw new Error("a text is none");
}

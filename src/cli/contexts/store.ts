import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";

/** What a context says, as its `meta.json` has it; fields that others wrote are kept. */
export interface ContextMeta {
  readonly Name: string;
  readonly Metadata: Readonly<Record<string, unknown>> & { readonly Description?: string };
  readonly Endpoints: Readonly<Record<string, ContextEndpoint>>;
}

export interface ContextEndpoint {
  readonly Host?: string;
  readonly SkipTLSVerify?: boolean;
}

/** Certificates of a context: by endpoint, then by file name. */
export type TlsFiles = Readonly<Record<string, Readonly<Record<string, Uint8Array>>>>;

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$/;
const MOST_META = 10 * 1024 * 1024;

/** Throws for a name that no context may have. */
export function checkContextName(name: string): void {
  if (name === "") throw new GantryError("invalid", "context name cannot be empty");
  if (name === "default") throw new GantryError("invalid", '"default" is a reserved context name');
  if (!NAME.test(name)) {
    throw new GantryError(
      "invalid",
      `context name ${JSON.stringify(name)} is invalid, names are validated against regexp ${JSON.stringify(NAME.source)}`,
    );
  }
}

/**
 * Docker's contexts on disk: `contexts/meta/<sha256 of the name>/meta.json`, certificates in
 * `contexts/tls/<the same>/<endpoint>/<file>`. No name becomes part of a path.
 */
export class ContextStore {
  readonly #root: string;

  constructor(configFolder: string) {
    this.#root = join(configFolder, "contexts");
  }

  metaFolder(name: string): string {
    return join(this.#root, "meta", idOf(name));
  }

  tlsFolder(name: string): string {
    return join(this.#root, "tls", idOf(name));
  }

  has(name: string): boolean {
    return existsSync(join(this.metaFolder(name), "meta.json"));
  }

  /** Throws `not-found` in Docker's words. */
  read(name: string): ContextMeta {
    const path = join(this.metaFolder(name), "meta.json");
    let text: string;
    try {
      if (lstatSync(path).size > MOST_META) throw new Error(`${path} is too large`);
      text = readFileSync(path, "utf8");
    } catch (error) {
      const why = hasCode(error, "ENOENT") ? `open ${path}: no such file or directory` : messageOf(error);
      throw new GantryError("not-found", `context ${JSON.stringify(name)}: context not found: ${why}`);
    }
    return parseMeta(text, name);
  }

  /** All contexts by name; what cannot be read is left out, as is what lies under another name's hash. */
  list(): readonly ContextMeta[] {
    let folders: string[];
    try {
      folders = readdirSync(join(this.#root, "meta"));
    } catch (error) {
      if (hasCode(error, "ENOENT")) return [];
      throw error;
    }
    const found: ContextMeta[] = [];
    for (const folder of folders) {
      try {
        const meta = parseMeta(readFileSync(join(this.#root, "meta", folder, "meta.json"), "utf8"));
        if (idOf(meta.Name) === folder) found.push(meta);
      } catch {
        // A context that is damaged must not hide the others.
      }
    }
    return found.sort((a, b) => (a.Name < b.Name ? -1 : 1));
  }

  /** Names of the certificates by endpoint. */
  tlsNames(name: string): Readonly<Record<string, readonly string[]>> {
    const names: Record<string, readonly string[]> = {};
    for (const endpoint of entries(this.tlsFolder(name)))
      names[endpoint] = entries(join(this.tlsFolder(name), endpoint));
    return names;
  }

  tls(name: string): TlsFiles {
    const files: Record<string, Record<string, Uint8Array>> = {};
    for (const [endpoint, names] of Object.entries(this.tlsNames(name))) {
      files[endpoint] = Object.fromEntries(
        names.map((file) => [file, readFileSync(join(this.tlsFolder(name), endpoint, file))]),
      );
    }
    return files;
  }

  /** Writes a context; `tls` undefined leaves its certificates as they are. */
  write(meta: ContextMeta, tls?: TlsFiles): void {
    if (tls !== undefined) {
      rmSync(this.tlsFolder(meta.Name), { recursive: true, force: true });
      for (const [endpoint, files] of Object.entries(tls)) {
        const folder = join(this.tlsFolder(meta.Name), endpoint);
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        for (const [file, data] of Object.entries(files)) writeFileSync(join(folder, file), data, { mode: 0o600 });
      }
    }
    const folder = this.metaFolder(meta.Name);
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    const temp = join(folder, `.meta.json-${process.pid}`);
    try {
      writeFileSync(temp, JSON.stringify(meta), { mode: 0o644 });
      renameSync(temp, join(folder, "meta.json"));
    } catch (error) {
      rmSync(temp, { force: true });
      throw error;
    }
  }

  remove(name: string): void {
    rmSync(this.metaFolder(name), { recursive: true, force: true });
    rmSync(this.tlsFolder(name), { recursive: true, force: true });
  }
}

function idOf(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

function entries(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  }
}

/** Reads a `meta.json`; `name` overrules the one it has. */
export function parseMeta(text: string, name?: string): ContextMeta {
  const bad = (why: string): GantryError => new GantryError("invalid", `invalid context metadata: ${why}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad(messageOf(error));
  }
  if (!isRecord(value)) throw bad("it is no object");
  const { Metadata = {}, Endpoints = {} } = value;
  const own = name ?? value.Name;
  if (typeof own !== "string") throw bad("it has no name");
  if (!isRecord(Metadata)) throw bad("Metadata is no object");
  if (Metadata.Description !== undefined && typeof Metadata.Description !== "string") {
    throw bad("Description is no string");
  }
  if (!isRecord(Endpoints) || !Object.values(Endpoints).every(isRecord)) throw bad("Endpoints are no objects");
  for (const endpoint of Object.values(Endpoints as Record<string, Record<string, unknown>>)) {
    if (endpoint.Host !== undefined && typeof endpoint.Host !== "string") throw bad("Host is no string");
  }
  return { ...value, Name: own, Metadata, Endpoints: Endpoints as Record<string, ContextEndpoint> };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

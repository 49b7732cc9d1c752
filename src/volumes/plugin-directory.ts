import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode } from "../base/errors.ts";

/** Where a plugin listens. */
export type PluginAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tls?: PluginTls };

/** Files of a spec in JSON; without `ca` the plugin's certificate isn't checked, as Docker has it. */
export interface PluginTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly skipVerify: boolean;
}

/** A plugin's name is a file's: it names nothing elsewhere. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;
const LONGEST_SPEC = 64 << 10;
const EXTENSIONS = [".sock", ".spec", ".json"] as const;

/**
 * Plugins as files in folders: `NAME.sock` a socket, `NAME.spec` an address as text, `NAME.json` one with TLS; each also
 * as `NAME/NAME.sock`. Of a name found twice the first folder counts, in a folder a socket first.
 */
export class PluginDirectory {
  readonly #folders: () => readonly string[];

  constructor(folders: () => readonly string[]) {
    this.#folders = folders;
  }

  /** Undefined if there is no plugin of that name; `invalid` for a spec that can't be read. */
  find(name: string): PluginAddress | undefined {
    if (!NAME.test(name)) return undefined;
    for (const folder of this.#folders()) {
      for (const extension of EXTENSIONS) {
        for (const path of [join(folder, name + extension), join(folder, name, name + extension)]) {
          const stat = statSync(path, { throwIfNoEntry: false });
          if (extension === ".sock" ? stat?.isSocket() : stat?.isFile()) return addressIn(path, extension);
        }
      }
    }
    return undefined;
  }

  /** Names of all plugins, sorted. */
  names(): string[] {
    const found = new Set<string>();
    for (const folder of this.#folders()) {
      for (const entry of entriesOf(folder)) {
        const extension = EXTENSIONS.find((each) => entry.endsWith(each));
        const name = extension === undefined ? entry : entry.slice(0, -extension.length);
        if (NAME.test(name) && isThere(this, name)) found.add(name);
      }
    }
    return [...found].sort();
  }
}

function isThere(directory: PluginDirectory, name: string): boolean {
  try {
    return directory.find(name) !== undefined;
  } catch {
    // It is there, and what is wrong with it is said when it is used.
    return true;
  }
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return [];
    throw error;
  }
}

function addressIn(path: string, extension: (typeof EXTENSIONS)[number]): PluginAddress {
  if (extension === ".sock") return { kind: "unix", path };
  const text = readSpec(path);
  if (extension === ".spec") return parseAddress(path, text.trim(), undefined);
  let spec: unknown;
  try {
    spec = JSON.parse(text);
  } catch {
    throw unusable(path, "it is no valid JSON");
  }
  const { Addr, TLSConfig } = (spec ?? {}) as { Addr?: unknown; TLSConfig?: unknown };
  if (typeof Addr !== "string") throw unusable(path, 'it has no "Addr"');
  return parseAddress(path, Addr, TLSConfig === undefined || TLSConfig === null ? undefined : readTls(path, TLSConfig));
}

function readTls(path: string, given: unknown): PluginTls {
  if (typeof given !== "object") throw unusable(path, '"TLSConfig" must be an object');
  const fields = given as Readonly<Record<string, unknown>>;
  const file = (field: string): string | undefined => {
    const value = fields[field];
    if (value === undefined || value === "") return undefined;
    if (typeof value !== "string") throw unusable(path, `"${field}" must be a path`);
    return value;
  };
  const [ca, cert, key] = [file("CAFile"), file("CertFile"), file("KeyFile")];
  return {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    skipVerify: fields.InsecureSkipVerify === true || ca === undefined,
  };
}

function parseAddress(path: string, text: string, tls: PluginTls | undefined): PluginAddress {
  const [scheme = "", rest = ""] = text.split(/:\/\/(.*)/s, 2);
  if (scheme === "unix") {
    if (!rest.startsWith("/") || rest.includes("\0")) throw unusable(path, `${JSON.stringify(text)} is no address`);
    return { kind: "unix", path: rest };
  }
  if (!["tcp", "http", "https"].includes(scheme)) {
    throw unusable(path, `${JSON.stringify(text.slice(0, 200))} is none of unix://, tcp://, http:// and https://`);
  }
  const url = URL.parse(`http://${rest}`);
  if (url === null || url.hostname === "") throw unusable(path, `${JSON.stringify(text.slice(0, 200))} is no address`);
  const secure = scheme === "https" ? (tls ?? { skipVerify: true }) : tls;
  const port = url.port === "" ? (scheme === "https" ? 443 : 80) : Number(url.port);
  return {
    kind: "tcp",
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port,
    ...(secure !== undefined && { tls: secure }),
  };
}

/** Never waits: what is no file by now is refused. */
function readSpec(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw unusable(path, "it is no file");
    const buffer = Buffer.alloc(LONGEST_SPEC + 1);
    const length = readSync(fd, buffer);
    if (length > LONGEST_SPEC) throw unusable(path, `it is longer than ${LONGEST_SPEC} bytes`);
    return buffer.toString("utf8", 0, length);
  } finally {
    closeSync(fd);
  }
}

function unusable(path: string, why: string): GantryError {
  return new GantryError("invalid", `cannot use the plugin of ${path}: ${why}`);
}

import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { goJsonError } from "./go-json-error.ts";
import { complain } from "./output/print.ts";

/** The fields of `config.json` that commands here look at. */
export interface ConfigFile {
  readonly psFormat?: string;
  readonly imagesFormat?: string;
  readonly networksFormat?: string;
  readonly volumesFormat?: string;
  readonly statsFormat?: string;
  readonly detachKeys?: string;
  readonly currentContext?: string;
  readonly HttpHeaders?: Readonly<Record<string, string>>;
  readonly pruneFilters?: readonly string[];
  readonly auths?: Readonly<Record<string, unknown>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly proxies?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

type Shape =
  | "string"
  | "map[string]types.AuthConfig"
  | "[]string"
  | "map[string]string"
  | "map[string]configfile.ProxyConfig";

/** What the fields have to be, so that what is read can be believed. */
const SHAPES: Readonly<Record<keyof ConfigFile, Shape>> = {
  psFormat: "string",
  imagesFormat: "string",
  networksFormat: "string",
  volumesFormat: "string",
  statsFormat: "string",
  detachKeys: "string",
  currentContext: "string",
  HttpHeaders: "map[string]string",
  pruneFilters: "[]string",
  auths: "map[string]types.AuthConfig",
  credsStore: "string",
  credHelpers: "map[string]string",
  proxies: "map[string]configfile.ProxyConfig",
};

/** Reads `config.json` of the folder; one that is broken is warned of in Docker's words and then taken as empty. */
export function readConfigFile(folder: string): ConfigFile {
  const path = join(folder, "config.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ENOTDIR")) complain(`WARNING: Error loading config file: ${messageOf(error)}`);
    return {};
  }
  if (text.trim() === "") return {};
  const { value, fault } = parsed(text);
  if (fault === undefined) return value;
  complain(`WARNING: Error parsing config file (${path}): ${fault}`);
  return {};
}

function parsed(text: string): { readonly value: ConfigFile; readonly fault?: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { value: {}, fault: goJsonError(text) ?? messageOf(error) };
  }
  if (value === null) return { value: {} };
  if (typeof value !== "object" || Array.isArray(value)) {
    return { value: {}, fault: `json: cannot unmarshal ${kindOf(value)} into Go value of type configfile.ConfigFile` };
  }
  const record = value as Readonly<Record<string, unknown>>;
  for (const [field, shape] of Object.entries(SHAPES)) {
    const wrong = mismatch(record[field], shape);
    if (wrong === undefined) continue;
    return {
      value: {},
      fault: `json: cannot unmarshal ${wrong.kind} into Go struct field ConfigFile.${field} of type ${wrong.type}`,
    };
  }
  return { value: record as ConfigFile };
}

function mismatch(value: unknown, shape: Shape): { readonly kind: string; readonly type: string } | undefined {
  if (value === undefined || value === null) return undefined;
  if (shape === "string") return typeof value === "string" ? undefined : { kind: kindOf(value), type: "string" };
  const items = shape === "[]string" ? Array.isArray(value) : typeof value === "object" && !Array.isArray(value);
  if (!items) return { kind: kindOf(value), type: shape };
  const inner = Object.values(value);
  for (const item of inner) {
    if (shape.includes("Config")) {
      if (typeof item !== "object" || Array.isArray(item)) {
        return { kind: kindOf(item), type: shape.slice("map[string]".length) };
      }
    } else if (typeof item !== "string" && item !== null) return { kind: kindOf(item), type: "string" };
  }
  return undefined;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "array";
  return typeof value === "boolean" ? "bool" : typeof value;
}

/** Sets one field of `config.json`, or removes it; all others stay. The file appears whole or not at all. */
export function updateConfigFile(folder: string, field: keyof ConfigFile, value: string | undefined): void {
  changeConfigFile(folder, (record) => {
    if (value === undefined) delete record[field];
    else record[field] = value;
    return true;
  });
}

/** How often another program may come in between before that is a failure. */
const MOST_TRIES = 10;

/**
 * Changes `config.json` as `change` does with its fields; what it leaves alone stays, known here or not. The file appears
 * whole or not at all, keeps its owner, and with `isSecret` is nobody else's to read. What another program writes
 * meanwhile is not lost: `change` is then called again with it. A `change` that returns false leaves the file as it is.
 */
export function changeConfigFile(
  folder: string,
  change: (record: Record<string, unknown>) => boolean,
  options: { readonly isSecret?: boolean } = {},
): void {
  const path = join(folder, "config.json");
  for (let tries = 1; ; tries++) {
    const before = readForChange(path);
    const record = { ...before.record };
    if (!change(record)) return;
    if (before.status === undefined) mkdirSync(folder, { recursive: true, mode: 0o700 });
    const mode = before.status === undefined ? 0o600 : before.status.mode & (options.isSecret ? 0o600 : 0o777);
    const text = JSON.stringify({ auths: {}, ...record }, null, "\t");
    const temp = join(dirname(before.target), `.config.json-${process.pid}-${tries}`);
    rmSync(temp, { force: true });
    try {
      writeSynced(temp, text, mode, before.status);
      if (readForChange(path).text !== before.text && tries < MOST_TRIES) continue;
      renameSync(temp, before.target);
      return;
    } finally {
      rmSync(temp, { force: true });
    }
  }
}

interface Before {
  /** Where the file is: a link to a file elsewhere stays one. */
  readonly target: string;
  readonly text: string;
  readonly record: Record<string, unknown>;
  readonly status: Stats | undefined;
}

function readForChange(path: string): Before {
  try {
    const target = realpathSync(path);
    const status = statSync(target);
    const text = readFileSync(target, "utf8");
    const value: unknown = text.trim() === "" ? {} : JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("it holds no JSON object");
    return { target, text, record: value as Record<string, unknown>, status };
  } catch (error) {
    if (hasCode(error, "ENOENT")) return { target: targetOf(path), text: "", record: {}, status: undefined };
    throw new GantryError("invalid", `cannot change ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Where a link leads that has nothing there yet; else the path itself. */
function targetOf(path: string): string {
  try {
    return resolve(dirname(path), readlinkSync(path));
  } catch {
    return path;
  }
}

function writeSynced(path: string, text: string, mode: number, owner: Stats | undefined): void {
  const fd = openSync(path, "wx", mode);
  try {
    if (owner !== undefined) {
      // Whoever becomes root to log in should not take the file away from its owner.
      if (process.getuid?.() === 0) fchownSync(fd, owner.uid, owner.gid);
      fchmodSync(fd, mode);
    }
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

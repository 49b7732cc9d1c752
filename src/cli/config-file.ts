import { mkdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
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
  const path = join(folder, "config.json");
  let record: Record<string, unknown> = {};
  let mode = 0o600;
  let target = path;
  try {
    // A link to a file elsewhere stays one.
    target = realpathSync(path);
    mode = statSync(target).mode & 0o777;
    const text = readFileSync(target, "utf8");
    if (text.trim() !== "") record = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    if (!hasCode(error, "ENOENT")) {
      throw new GantryError("invalid", `cannot change ${path}: ${messageOf(error)}`, { cause: error });
    }
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  if (value === undefined) delete record[field];
  else record[field] = value;
  const temp = join(dirname(target), `.config.json-${process.pid}`);
  try {
    writeFileSync(temp, JSON.stringify({ auths: {}, ...record }, null, "\t"), { mode, flag: "wx" });
    renameSync(temp, target);
  } catch (error) {
    rmSync(temp, { force: true });
    throw error;
  }
}

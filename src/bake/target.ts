import { posix } from "node:path";
import { parseBool } from "../base/parse-bool.ts";

/** `type=registry,ref=x` as its parts. */
export type Entry = Readonly<Record<string, string>>;

/** What a file says of one target; what it doesn't say is undefined. Names as in Bake files. */
export interface Target {
  readonly description?: string;
  readonly annotations?: readonly string[];
  readonly attest?: readonly Entry[];
  readonly context?: string;
  readonly contexts?: Readonly<Record<string, string>>;
  readonly dockerfile?: string;
  readonly "dockerfile-inline"?: string;
  readonly args?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly tags?: readonly string[];
  readonly "cache-from"?: readonly Entry[];
  readonly "cache-to"?: readonly Entry[];
  readonly target?: string;
  readonly secret?: readonly Entry[];
  readonly ssh?: readonly Entry[];
  readonly platforms?: readonly string[];
  readonly output?: readonly Entry[];
  readonly pull?: boolean;
  readonly "no-cache"?: boolean;
  readonly network?: string;
  readonly "no-cache-filter"?: readonly string[];
  readonly "shm-size"?: string;
  readonly ulimits?: readonly string[];
  readonly call?: string;
  readonly entitlements?: readonly string[];
  readonly "extra-hosts"?: Readonly<Record<string, string>>;
}

export type FieldName = keyof Target;

export interface Field {
  readonly kind: "text" | "flag" | "texts" | "map" | "entries";
  /** What becomes of a value when another one is laid over it. */
  readonly merge: "replace" | "append" | "by-key";
  /** How an entry that is one word is meant. */
  readonly entry?: "cache" | "output" | "secret" | "ssh" | "attest";
}

/** In the order in which they are shown. */
export const FIELDS: Readonly<Record<FieldName, Field>> = {
  description: { kind: "text", merge: "replace" },
  annotations: { kind: "texts", merge: "append" },
  attest: { kind: "entries", merge: "append", entry: "attest" },
  context: { kind: "text", merge: "replace" },
  contexts: { kind: "map", merge: "by-key" },
  dockerfile: { kind: "text", merge: "replace" },
  "dockerfile-inline": { kind: "text", merge: "replace" },
  args: { kind: "map", merge: "by-key" },
  labels: { kind: "map", merge: "by-key" },
  tags: { kind: "texts", merge: "replace" },
  "cache-from": { kind: "entries", merge: "append", entry: "cache" },
  "cache-to": { kind: "entries", merge: "replace", entry: "cache" },
  target: { kind: "text", merge: "replace" },
  secret: { kind: "entries", merge: "append", entry: "secret" },
  ssh: { kind: "entries", merge: "append", entry: "ssh" },
  platforms: { kind: "texts", merge: "replace" },
  output: { kind: "entries", merge: "replace", entry: "output" },
  pull: { kind: "flag", merge: "replace" },
  "no-cache": { kind: "flag", merge: "replace" },
  network: { kind: "text", merge: "replace" },
  "no-cache-filter": { kind: "texts", merge: "append" },
  "shm-size": { kind: "text", merge: "replace" },
  ulimits: { kind: "texts", merge: "append" },
  call: { kind: "text", merge: "replace" },
  entitlements: { kind: "texts", merge: "append" },
  "extra-hosts": { kind: "map", merge: "by-key" },
};

export function isFieldName(name: string): name is FieldName {
  return Object.hasOwn(FIELDS, name);
}

/** What the second says, laid over the first. */
export function layOver(below: Target, above: Target): Target {
  const result: Record<string, unknown> = { ...below };
  for (const [name, value] of Object.entries(above)) {
    const former = result[name];
    const { merge } = FIELDS[name as FieldName];
    if (value === undefined) continue;
    if (former === undefined || merge === "replace") result[name] = value;
    else if (merge === "append") result[name] = appended(name, former as unknown[], value as unknown[]);
    else result[name] = { ...(former as object), ...(value as object) };
  }
  return result;
}

/** Entries are there once; of attestations the last of a type counts, of secrets and agents the last of an id. */
function appended(name: string, former: readonly unknown[], more: readonly unknown[]): unknown[] {
  const key = (item: unknown): string => {
    const entry = item as Entry;
    if (name === "attest") return entry.type ?? "";
    if (name === "secret" || name === "ssh") return entry.id ?? "";
    return JSON.stringify(item);
  };
  if (FIELDS[name as FieldName].kind !== "entries") return [...former, ...more];
  const rows = new Map<string, unknown>();
  for (const item of [...former, ...more]) rows.set(key(item), item);
  return [...rows.values()];
}

/** What is there twice or empty goes. Who uses the machine's network needs to be allowed to. */
export function normal(target: Target): Target {
  const result: Record<string, unknown> = { ...target };
  for (const [name, { kind }] of Object.entries(FIELDS)) {
    const value = result[name];
    if (value === undefined || (kind !== "texts" && kind !== "entries")) continue;
    result[name] = kind === "texts" ? texts(value as string[]) : appended(name, [], value as Entry[]);
  }
  if (target.network === "host") result.entitlements = texts([...(target.entitlements ?? []), "network.host"]);
  const { contexts } = target;
  if (contexts !== undefined) {
    result.contexts = Object.fromEntries(Object.entries(contexts).filter(([, place]) => place !== ""));
  }
  return result;
}

function texts(list: readonly string[]): string[] {
  return [...new Set(list)].filter((text) => text !== "");
}

/** A folder's path without what says nothing; `cwd://` is where the command runs. */
export function placeOf(context: string): string {
  if (
    /^(?:[a-z][a-z0-9+.-]*:\/\/|git@|github\.com\/|target:|docker-image:)/.test(context) &&
    !context.startsWith("cwd://")
  ) {
    return context;
  }
  const cleaned = posix.normalize(context.replace(/^cwd:\/\//, "") || ".");
  return cleaned.length > 1 ? cleaned.replace(/\/$/, "") : cleaned;
}

/** As `--print` shows it: fields in order, maps sorted, texts escaped so that the answer is a Bake file again. */
export function shownTarget(target: Target): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const name of Object.keys(FIELDS) as FieldName[]) {
    const value = target[name];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    if (FIELDS[name].kind === "map" && Object.keys(value as object).length === 0) continue;
    if (name === "description" && value === "") continue;
    if (name === "context") {
      shown.context = placeOf(String(value));
      continue;
    }
    const rows = name === "attest" ? (value as readonly Entry[]).map(switched) : value;
    shown[name] = escaped(FIELDS[name].kind === "map" ? sorted(value as Record<string, unknown>) : rows);
  }
  return shown;
}

/** `disabled` is no text. */
function switched({ disabled, ...entry }: Entry): Record<string, unknown> {
  return { ...entry, ...(disabled !== undefined && parseBool(disabled) === true && { disabled: true }) };
}

function sorted(map: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : Number(a > b))));
}

function escaped(value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll("${", () => "$${").replaceAll("%{", "%%{");
  if (Array.isArray(value)) return value.map(escaped);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, escaped(each)]));
}

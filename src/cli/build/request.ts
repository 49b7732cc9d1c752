import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { csvFields } from "../../base/csv.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import type { Asked } from "./asked.ts";
import type { Folder } from "./folder.ts";
import { LayoutStore } from "./layout-store.ts";
import type { Result } from "./results.ts";
import { realFolder } from "./walk.ts";

/** A type and its attributes, as `type=…,name=value` says them. */
export interface Typed {
  readonly type: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** A build in the words of BuildKit's frontend, and what of this machine it may have. */
export interface Prepared {
  readonly options: Readonly<Record<string, string>>;
  readonly exporters: readonly Typed[];
  readonly cacheImports: readonly Typed[];
  readonly cacheExports: readonly Typed[];
  readonly entitlements: readonly string[];
  readonly folders: ReadonlyMap<string, Folder>;
  readonly results: ReadonlyMap<string, Result>;
  readonly stores: ReadonlyMap<string, LayoutStore>;
  readonly upload: AsyncIterable<Uint8Array> | undefined;
  /** The context's folder; undefined if it is none of this machine. */
  readonly folder: string | undefined;
}

/** What standard input brings, read at most once. */
export interface Input {
  stream(): AsyncIterable<Uint8Array>;
  readonly isTerminal: boolean;
}

const UPLOAD_URL = "http://buildkit-session/context";
const REMOTE = /^(?:https?|git|ssh):\/\/|^git@|^github\.com\//;
const MAX_DOCKERFILE = 20 << 20;

/** Makes a build's request. Throws invalid, naming what is wrong with what was asked for. */
export async function prepare(asked: Asked, input: Input, env: NodeJS.ProcessEnv): Promise<Prepared> {
  const options: Record<string, string> = {};
  const folders = new Map<string, Folder>();
  const stores = new Map<string, LayoutStore>();
  const place = await contextOf(asked, input, options, folders);
  scalars(asked, options, env);
  for (const given of asked.contexts) namedContext(given, options, folders, stores);
  const caches = cachesOf(asked, stores, env);
  const { exporters, results } = outputsOf(asked, stores);
  return {
    options,
    exporters,
    ...caches,
    entitlements: asked.allow,
    folders,
    results,
    stores,
    ...place,
  };
}

/** True for a context that the engine fetches by itself. */
export function isRemote(context: string): boolean {
  return !existsSync(context) && REMOTE.test(context);
}

/** Where the context and the Dockerfile come from. */
async function contextOf(
  asked: Asked,
  input: Input,
  options: Record<string, string>,
  folders: Map<string, Folder>,
): Promise<Pick<Prepared, "upload" | "folder">> {
  const { context, file, inline } = asked;
  if (context === "-" && file === "-")
    throw new GantryError("invalid", "invalid argument: can't use stdin for both build context and dockerfile");
  const dockerfile = inline !== undefined ? Buffer.from(inline) : file === "-" ? await readInput(input) : undefined;
  if (dockerfile !== undefined) folders.set("dockerfile", { files: new Map([["Dockerfile", dockerfile]]) });
  if (context === "-") {
    if (input.isTerminal)
      throw new GantryError("invalid", "stdin is a terminal: give the context by a pipe, or a folder");
    const { head, rest } = await beginning(input.stream());
    if (isArchive(head)) {
      options.context = UPLOAD_URL;
      if (file !== "") options.filename = file;
      return { upload: rest, folder: undefined };
    }
    folders.set("dockerfile", { files: new Map([["Dockerfile", await whole(rest)]]) });
    folders.set("context", { files: new Map() });
    return { upload: undefined, folder: undefined };
  }
  if (isRemote(context)) {
    options.context = context;
    if (dockerfile !== undefined) options.dockerfilekey = "dockerfile";
    else if (file !== "") options.filename = file;
    return { upload: undefined, folder: undefined };
  }
  const folder = realFolder(context);
  folders.set("context", { path: folder });
  if (dockerfile === undefined) dockerfileOf(folder, file, options, folders);
  return { upload: undefined, folder };
}

/** A Dockerfile lies in the context or elsewhere; its folder is all that is sent for it. */
function dockerfileOf(
  folder: string,
  file: string,
  options: Record<string, string>,
  folders: Map<string, Folder>,
): void {
  const path = file === "" ? defaultDockerfile(folder) : resolve(file);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined && file !== "" && !isAbsolute(file)) {
    // A name that is no file here may be one of the context's.
    const within = join(folder, file);
    if (statSync(within, { throwIfNoEntry: false })?.isFile()) {
      dockerfileOf(folder, within, options, folders);
      return;
    }
  }
  if (found?.isDirectory()) throw new GantryError("invalid", `cannot read the Dockerfile ${path}: it is a folder`);
  const inside = relative(folder, path);
  if (inside.startsWith("..") || isAbsolute(inside)) {
    folders.set("dockerfile", { path: dirname(path) });
    options.filename = basename(path);
  } else {
    // One question for it, its ignore file and the context's, where they are in one folder.
    options.dockerfilekey = "context";
    options.filename = inside;
  }
}

function defaultDockerfile(folder: string): string {
  const path = join(folder, "Dockerfile");
  if (existsSync(path)) return path;
  const lower = join(folder, "dockerfile");
  return existsSync(lower) ? lower : path;
}

function scalars(asked: Asked, options: Record<string, string>, env: NodeJS.ProcessEnv): void {
  const set = (name: string, value: string): void => {
    if (value !== "") options[name] = value;
  };
  set("target", asked.target);
  set("platform", asked.platforms.flatMap((list) => list.split(",")).join(","));
  set("force-network-mode", asked.network === "default" ? "" : asked.network);
  set("cgroup-parent", asked.cgroupParent);
  set("shm-size", asked.shmSize === 0 ? "" : String(asked.shmSize));
  set("ulimit", asked.ulimits.join(","));
  set("add-hosts", asked.hosts.map(hostRow).join(","));
  set("image-resolve-mode", asked.pull ? "pull" : "");
  set("gantry:deny", asked.deny.join(","));
  set(
    "requestid",
    { build: "", check: "frontend.lint", outline: "frontend.outline", targets: "frontend.targets" }[asked.call],
  );
  if (asked.noCache && asked.noCacheFilter.length > 0) {
    throw new GantryError("invalid", "--no-cache and --no-cache-filter cannot currently be used together");
  }
  if (asked.noCache) options["no-cache"] = "";
  set("no-cache", asked.noCacheFilter.join(","));
  options["gantry:explain"] = String(asked.explain);
  if (asked.keepFailed) options["gantry:keep-failed"] = "true";
  if (asked.squash) options["gantry:squash"] = "true";
  for (const [name, value] of asked.limits) options[name] = value;
  const epoch = env.SOURCE_DATE_EPOCH;
  if (epoch !== undefined && epoch !== "") options["build-arg:SOURCE_DATE_EPOCH"] = epoch;
  for (const given of asked.buildArgs) assign(given, env, options);
  for (const given of asked.labels) {
    const [name, value] = pair(given);
    options[`label:${name}`] = value ?? "";
  }
  for (const given of asked.attest) {
    const [type, ...rest] = attestation(given);
    if (rest.includes("disabled=true")) delete options[`attest:${type}`];
    else options[`attest:${type}`] = rest.join(",");
  }
}

/** A name without a value takes the environment's, and is left out where that has none. An empty value stays. */
function assign(given: string, env: NodeJS.ProcessEnv, options: Record<string, string>): void {
  const [name, own] = pair(given);
  if (name === "")
    throw new GantryError("invalid", `invalid build argument ${JSON.stringify(given)}: it has to be NAME=VALUE`);
  const value = own ?? env[name];
  if (value !== undefined) options[`build-arg:${name}`] = value;
}

function attestation(given: string): readonly string[] {
  const fields = csvFields(given);
  const type = fields.find((field) => field.startsWith("type="))?.slice("type=".length) ?? "";
  if (type !== "provenance" && type !== "sbom") {
    throw new GantryError(
      "invalid",
      `unknown attestation ${JSON.stringify(given)}: there are type=provenance and type=sbom`,
    );
  }
  return [type, ...fields.filter((field) => !field.startsWith("type="))];
}

function hostRow(given: string): string {
  const [, name = "", address = ""] = /^([^=:]+)[=:](.+)$/.exec(given) ?? [];
  if (name === "") throw new GantryError("invalid", `bad format for add-host: ${JSON.stringify(given)}`);
  return `${name}=${address.replace(/^\[(.*)\]$/, "$1")}`;
}

function pair(given: string): readonly [name: string, value: string | undefined] {
  const equals = given.indexOf("=");
  return equals < 0 ? [given, undefined] : [given.slice(0, equals), given.slice(equals + 1)];
}

function namedContext(
  given: string,
  options: Record<string, string>,
  folders: Map<string, Folder>,
  stores: Map<string, LayoutStore>,
): void {
  const [name, place] = pair(given);
  if (place === undefined || name === "") {
    throw new GantryError("invalid", `invalid context value: ${given}, expected key=value`);
  }
  if (place.startsWith("oci-layout://")) {
    const [, path = "", suffix = ""] =
      /^([^@]*?)((?:@|:(?=[^/]*$)).*)?$/.exec(place.slice("oci-layout://".length)) ?? [];
    const folder = realFolder(path);
    const store = `layout-${stores.size}`;
    stores.set(`oci:${store}`, new LayoutStore(folder));
    options[`context:${name}`] =
      `oci-layout://${store}${suffix.startsWith("@") ? suffix : `@${layoutDigest(folder, suffix.slice(1))}`}`;
    return;
  }
  if (/^[a-z-]+:\/\//.test(place) || (REMOTE.test(place) && !existsSync(place))) {
    options[`context:${name}`] = place;
    return;
  }
  const key = `context:${name}`;
  folders.set(key, { path: realFolder(place) });
  options[key] = `local:${key}`;
}

/** Of a layout's index, the manifest with a name, or its only one. */
function layoutDigest(folder: string, tag: string): string {
  let index: { manifests?: { digest?: string; annotations?: Record<string, string> }[] };
  try {
    index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as typeof index;
  } catch (error) {
    throw new GantryError("invalid", `cannot read the OCI layout ${folder}: ${messageOf(error)}`);
  }
  const manifests = index.manifests ?? [];
  const named = manifests.filter(({ annotations = {} }) => annotations["org.opencontainers.image.ref.name"] === tag);
  const found = tag === "" && manifests.length === 1 ? manifests[0] : named[0];
  if (found?.digest === undefined) {
    const names = manifests.map(
      ({ annotations = {} }) => annotations["org.opencontainers.image.ref.name"] ?? "(no name)",
    );
    throw new GantryError(
      "not-found",
      `the OCI layout ${folder} has no image ${tag || "without a name"}: it has ${names.join(", ") || "none"}`,
    );
  }
  return found.digest;
}

/** `type=x,a=b`; a word alone is what `short` makes of it. */
export function typed(given: string, short: (word: string) => Typed): Typed {
  const fields = csvFields(given);
  const [first = ""] = fields;
  if (fields.length === 1 && !first.includes("=")) return short(first);
  const attributes: Record<string, string> = {};
  for (const field of fields) {
    const [name, value] = pair(field);
    if (value === undefined) throw new GantryError("invalid", `invalid value ${field}: it has to be key=value`);
    attributes[name.trim().toLowerCase()] = value;
  }
  const { type = "", ...rest } = attributes;
  if (type === "") throw new GantryError("invalid", `type is required for ${JSON.stringify(given)}`);
  return { type, attributes: rest };
}

function cachesOf(
  asked: Asked,
  stores: Map<string, LayoutStore>,
  env: NodeJS.ProcessEnv,
): Pick<Prepared, "cacheImports" | "cacheExports"> {
  const byRef = (ref: string): Typed => ({ type: "registry", attributes: { ref } });
  const cacheImports = asked.cacheFrom
    .map((given) => typed(given, byRef))
    .map((cache) => localCache(cache, "src", stores));
  const cacheExports = asked.cacheTo
    .map((given) => typed(given, (word) => (word === "inline" ? { type: "inline", attributes: {} } : byRef(word))))
    .map((cache) => localCache(cache, "dest", stores));
  if (env.BUILDKIT_INLINE_CACHE === "1") cacheExports.push({ type: "inline", attributes: {} });
  return { cacheImports, cacheExports };
}

/** A folder's cache is a store of this machine's, and the manifest that its index names. */
function localCache(cache: Typed, field: "src" | "dest", stores: Map<string, LayoutStore>): Typed {
  if (cache.type !== "local") return cache;
  const { [field]: path = "", ...rest } = cache.attributes;
  if (path === "")
    throw new GantryError("invalid", `local cache ${field === "src" ? "importer" : "exporter"} requires ${field}`);
  const folder = resolve(path);
  // The name by which BuildKit's own client would call it.
  const store = `local:${folder}`;
  if (field === "dest") {
    stores.set(store, new LayoutStore(folder).prepare());
    return { type: "local", attributes: { ...rest, dest: folder } };
  }
  if (!existsSync(join(folder, "index.json"))) {
    throw new GantryError("not-found", `cannot import the cache of ${path}: it has no index.json`);
  }
  stores.set(store, new LayoutStore(folder));
  const digest = rest.digest ?? layoutDigest(folder, rest.tag ?? "latest");
  return { type: "local", attributes: { ...rest, src: folder, digest } };
}

function outputsOf(asked: Asked, stores: Map<string, LayoutStore>): Pick<Prepared, "exporters" | "results"> {
  const results = new Map<string, Result>();
  if (asked.call !== "build") return { exporters: [], results };
  const given = asked.outputs.map((text) =>
    typed(text, (word) =>
      word === "-" ? { type: "tar", attributes: { dest: "-" } } : { type: "local", attributes: { dest: word } },
    ),
  );
  if (asked.push && asked.load && given.length === 0) given.push({ type: "image", attributes: { push: "true" } });
  else if (asked.push) pushing(given);
  else if (asked.load && !given.some(({ type, attributes }) => type === "docker" && attributes.dest === undefined))
    given.push({ type: "image", attributes: {} });
  if (given.length === 0) given.push({ type: "image", attributes: {} });
  const exporters = given.map((output, index) => outputOf(asked, output, String(index), results, stores));
  return { exporters, results };
}

/** `--push` adds a push to the image that is made anyway. */
function pushing(given: Typed[]): void {
  const at = given.findIndex(({ type }) => type === "image" || type === "registry");
  if (at < 0) given.push({ type: "image", attributes: { push: "true" } });
  else given[at] = { ...given[at]!, attributes: { ...given[at]!.attributes, push: "true" } };
}

function outputOf(
  asked: Asked,
  { type, attributes }: Typed,
  id: string,
  results: Map<string, Result>,
  stores: Map<string, LayoutStore>,
): Typed {
  const { dest, ...rest } = attributes;
  const named = ["image", "registry", "oci", "docker"].includes(type);
  const kept: Record<string, string> = { ...rest };
  if (named && asked.tags.length > 0 && kept.name === undefined) kept.name = asked.tags.join(",");
  if (named) for (const annotation of asked.annotations) annotate(kept, annotation);
  // Without a place of its own an image of Docker's kind goes into the engine's store.
  if (type === "docker" && dest === undefined) return { type: "image", attributes: kept };
  if (type === "local") {
    if (dest === undefined || dest === "") throw new GantryError("invalid", "dest is required for local output");
    results.set(id, { type: "folder", path: resolve(dest) });
  } else if (type === "tar" || type === "oci" || type === "docker") {
    if (rest.tar === "false" && dest !== undefined) {
      stores.set("export", new LayoutStore(resolve(dest)).prepare());
      return { type, attributes: { ...kept, dest: resolve(dest) } };
    }
    if (dest === undefined || dest === "-") {
      if (process.stdout.isTTY)
        throw new GantryError("invalid", `dest file is required for ${type} exporter. refusing to write to console`);
      results.set(id, { type: "stdout" });
    } else {
      results.set(id, { type: "file", path: resolve(dest) });
    }
  } else if (dest !== undefined) {
    throw new GantryError("invalid", `${type} output has no dest: what it makes stays with the engine or a registry`);
  }
  return { type, attributes: kept };
}

/** `[manifest,index:]key=value`. */
function annotate(attributes: Record<string, string>, given: string): void {
  const [, kinds, key = "", value = ""] =
    /^(?:((?:manifest|index|manifest-descriptor|index-descriptor)(?:\[[^\]]*\])?(?:,[^:=]*)?):)?([^=]+)=(.*)$/s.exec(
      given,
    ) ?? [];
  if (key === "") throw new GantryError("invalid", `invalid annotation "${given}": it has to be key=value`);
  for (const kind of (kinds ?? "").split(",")) {
    const prefix = kind === "" || kind === "manifest" ? "annotation" : `annotation-${kind}`;
    attributes[`${prefix}.${key}`] = value;
  }
}

async function readInput(input: Input): Promise<Buffer> {
  if (input.isTerminal) throw new GantryError("invalid", "stdin is a terminal: give the Dockerfile by a pipe");
  return whole(input.stream());
}

async function whole(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of bytes) {
    size += piece.length;
    if (size > MAX_DOCKERFILE)
      throw new GantryError("invalid", "the Dockerfile on standard input is larger than 20 MB");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

const HEAD = 512;

/** The first bytes, and all of them. */
async function beginning(bytes: AsyncIterable<Uint8Array>): Promise<{ head: Buffer; rest: AsyncIterable<Uint8Array> }> {
  const iterator = bytes[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < HEAD) {
    const { value, done } = await iterator.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  async function* rest(): AsyncGenerator<Uint8Array> {
    if (head.length > 0) yield head;
    for (;;) {
      const { value, done } = await iterator.next();
      if (done === true) return;
      yield value;
    }
  }
  return { head, rest: rest() };
}

const MAGICS = ["1f8b08", "425a68", "fd377a585a00", "28b52ffd"];

/** A tar, plain or compressed; else it is a Dockerfile. */
function isArchive(head: Buffer): boolean {
  const hex = head.toString("hex", 0, 6);
  return (
    MAGICS.some((magic) => hex.startsWith(magic)) || head.toString("latin1", 257, 262) === "ustar" || isOldTar(head)
  );
}

/** Of before POSIX: the header's sum is right. */
function isOldTar(head: Buffer): boolean {
  if (head.length < HEAD) return false;
  const told = Number.parseInt(head.toString("latin1", 148, 156).replace(/\0.*$/, "").trim(), 8);
  let sum = 8 * 32;
  for (const [index, byte] of head.subarray(0, HEAD).entries()) if (index < 148 || index >= 156) sum += byte;
  return told === sum;
}

import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, posix } from "node:path";
import { GantryError, hasCode } from "../../base/errors.ts";
import { readIgnoreFile } from "../../dockerfile/ignore-file.ts";
import { readFileInRoot } from "../../kernel/path.ts";
import type { Platform } from "../../oci/image.ts";
import { hostPlatform } from "../../oci/platform.ts";
import type { BuildOptions, BuildRequest, ContextSource } from "../builder.ts";
import type { LocalOperation } from "../graph.ts";
import type { OperatorContext, ResolvedSource } from "../operator.ts";
import type { BuildInputs, LoadedDockerfile } from "../parts.ts";
import type { IgnorePatterns, PlanPorts, ResolvedBase, ResolvedLayout } from "../plan/types.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import { statusOf, type TellStatus, toldStep } from "../sources/told-step.ts";
import { ArchiveIndex, unpackContext } from "./archive.ts";
import type { ContextStore } from "./context-store.ts";
import { leaveOut } from "./excluded.ts";
import { arrived, type KnownArchives } from "./known-archives.ts";
import { LONGEST_TEXT, MemoryFiles } from "./memory-files.ts";

const IGNORE_FILE = ".dockerignore";
const DEFAULT_NAME = "Dockerfile";

export interface InputPorts {
  readonly store: ContextStore;
  readonly archives: KnownArchives;
  readonly roots: Roots;
  /** For what goes with its build. */
  readonly temporary: string;
  readonly maxUnpackRatio: () => number;
  /** A repository or what a URL has, as a folder. */
  readonly remote: (
    source: Extract<ContextSource, { type: "git" | "http" }>,
    request: BuildRequest,
    signal: AbortSignal,
    tell: TellStatus,
  ) => Promise<Root | undefined>;
  readonly base: (
    request: BuildRequest,
    options: BuildOptions,
    reference: string,
    platform: Platform,
    pull: boolean,
  ) => Promise<ResolvedBase>;
  readonly lent: (
    request: BuildRequest,
    options: BuildOptions,
    value: string,
    platform: Platform,
  ) => Promise<ResolvedLayout>;
  readonly onEnd: () => void;
}

/** A folder that goes with the build, and what is known of it. */
interface Folder {
  readonly root: Root | undefined;
  /** Where it was no folder that came but a Dockerfile alone. */
  readonly text?: string;
}

/** Short files of a context by their paths; undefined for what isn't there. */
type ReadText = (path: string) => Promise<string | undefined>;

/** The contexts of one build. */
export class Inputs implements BuildInputs {
  readonly ports: PlanPorts;
  readonly #ports: InputPorts;
  readonly #request: BuildRequest;
  readonly #options: BuildOptions;
  readonly #folders = new Map<ContextSource, Promise<Folder>>();
  /** Folders without what their patterns exclude. */
  readonly #filtered = new Map<string, Promise<Root | undefined>>();
  readonly #ends = new AsyncDisposableStack();
  #ignoreReader: Promise<ReadText> | undefined;

  constructor(ports: InputPorts, request: BuildRequest, options: BuildOptions) {
    this.#ports = ports;
    this.#request = request;
    this.#options = options;
    this.ports = {
      resolveBase: (reference, platform, { pull }) => ports.base(request, options, reference, platform, pull),
      resolveLayout: (value, platform) => ports.lent(request, options, value, platform),
      include: (context, path) => this.#include(context, path),
      ignoreOf: (context) => this.#ignoreOf(context),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ports.onEnd();
    await Promise.allSettled([...this.#folders.values(), ...this.#filtered.values()]);
    await this.#ends.disposeAsync();
  }

  async dockerfile(): Promise<LoadedDockerfile> {
    const { context, dockerfile, dockerfileSource } = this.#request;
    const source = dockerfileSource ?? context;
    if ("text" in dockerfile) return { text: dockerfile.text, file: DEFAULT_NAME, ignore: await this.#mainIgnore() };
    const { path } = dockerfile;
    if (source.type === "session" && context.type === "session" && !isSame(source, context)) this.#askForIgnore();
    const name = `[internal] load build definition from ${basename(path)}`;
    const { isWhole, ...loaded } = await toldStep(name, this.#options.onEvent, (tell) =>
      this.#readDockerfile(source, path, tell),
    );
    return isWhole ? loaded : { ...loaded, ignore: await this.#mainIgnore() };
  }

  /** The `local` operator. */
  resolve(operation: LocalOperation, context: OperatorContext): ResolvedSource {
    const tell = statusOf(context.vertex.id, context.onEvent);
    return { key: undefined, root: () => this.#local(operation, context.signal, tell) };
  }

  async #local(operation: LocalOperation, signal: AbortSignal, tell: TellStatus): Promise<Root | undefined> {
    const { exclude, followPaths = [], name } = operation;
    const source = this.#sourceOf(name);
    if (source.type === "none") return undefined;
    if (source.type !== "session") {
      const { root } = await this.#folder(source, tell);
      return this.#without(root, exclude);
    }
    const row = `transferring ${name}:`;
    let sent = 0;
    const sync = { name: source.name, include: [], exclude, followPaths };
    const root = await this.#ports.store.sync(this.#session(), sync, signal, (bytes) => {
      sent = bytes;
      tell(row, bytes, 0);
    });
    tell(row, sent, 0, true);
    return root;
  }

  #sourceOf(name: string): ContextSource {
    const { context, dockerfileSource } = this.#request;
    if (name === "context") return context;
    if (name === "dockerfile") return dockerfileSource ?? context;
    return { type: "session", name };
  }

  /** The root of what is no folder of a session's, once for the build. */
  #folder(source: Exclude<ContextSource, { type: "session" | "none" }>, tell: TellStatus): Promise<Folder> {
    let folder = this.#folders.get(source);
    if (folder === undefined) {
      folder = this.#open(source, tell);
      // Told to whoever waits for it.
      folder.catch(() => {});
      this.#folders.set(source, folder);
    }
    return folder;
  }

  async #open(source: Exclude<ContextSource, { type: "session" | "none" }>, tell: TellStatus): Promise<Folder> {
    const { signal } = this.#options;
    if (source.type === "archive") return this.#unpack(source.bytes, tell);
    if (source.type === "input") return { root: await this.#made(source.input) };
    const root = await this.#ports.remote(source, this.#request, signal, tell);
    if (root === undefined) return { root };
    if (source.type === "git") {
      this.#ends.use(root);
      return { root };
    }
    await using held = root;
    await using opened = await held.open();
    const { createReadStream, readdirSync } = await import("node:fs");
    const [file = ""] = readdirSync(opened.path);
    return this.#unpack(createReadStream(join(opened.path, file)), () => {});
  }

  /** What another build makes. */
  async #made(input: string): Promise<Root | undefined> {
    const build = this.#request.inputs?.get(input);
    if (build === undefined) throw new GantryError("internal", `no build makes the context ${input}`);
    const { root } = await build.made(hostPlatform(), this.#options.signal);
    return root === undefined ? undefined : this.#ends.use(root.share());
  }

  async #unpack(source: AsyncIterable<Uint8Array>, tell: TellStatus): Promise<Folder> {
    const { signal } = this.#options;
    const { archives } = this.#ports;
    const { bytes, digest } = await arrived(source);
    const known = digest === undefined ? undefined : archives.find(digest);
    if (known !== undefined) return { root: this.#ends.use(known) };
    const folder = this.#place();
    const tree = join(folder, "tree");
    const row = "transferring context:";
    let seen = 0;
    const onBytes = (count: number) => {
      seen = count;
      tell(row, count, 0);
    };
    const mostRatio = this.#ports.maxUnpackRatio();
    try {
      const unpacked = await unpackContext(bytes, tree, { mostRatio, signal, onBytes });
      tell(row, seen, 0, true);
      if (unpacked.kind === "folder") {
        const root = this.#held(tree, unpacked.index);
        if (digest !== undefined) await archives.keep(digest, root, unpacked.bytes);
        return { root };
      }
      mkdirSync(tree, { mode: 0o755 });
      await writeFile(join(tree, DEFAULT_NAME), unpacked.text, { mode: 0o644 });
      return { root: this.#held(tree, undefined), text: unpacked.text };
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** A folder of this build's own, which ends with it. */
  #place(): string {
    const folder = join(this.#ports.temporary, randomBytes(12).toString("hex"));
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  /** The build's own hold on a folder that it made: it is removed when nobody has it any more. */
  #held(tree: string, index: ArchiveIndex | undefined): Root {
    const onEnd = async () => {
      index?.close();
      await rm(dirname(tree), { recursive: true, force: true });
    };
    return this.#ends.use(this.#ports.roots.folder(tree, { ...(index !== undefined && { index }), onEnd }));
  }

  /** A share for the caller, without what the patterns match. */
  async #without(root: Root | undefined, exclude: readonly string[]): Promise<Root | undefined> {
    if (root?.folder === undefined || exclude.length === 0) return root?.share();
    const key = JSON.stringify([root.folder, exclude]);
    let filtered = this.#filtered.get(key);
    if (filtered === undefined) {
      filtered = this.#filter(root, root.folder, exclude);
      filtered.catch(() => {});
      this.#filtered.set(key, filtered);
    }
    return (await filtered)?.share();
  }

  async #filter(root: Root, folder: string, exclude: readonly string[]): Promise<Root> {
    const place = this.#place();
    const tree = join(place, "tree");
    let isLess = false;
    try {
      isLess = await leaveOut(folder, exclude, tree);
      if (!isLess) return root;
    } finally {
      if (!isLess) await rm(place, { recursive: true, force: true });
    }
    return this.#held(tree, root.index instanceof ArchiveIndex ? root.index.of(tree) : undefined);
  }

  #session() {
    const { session } = this.#request;
    if (session === undefined) throw new GantryError("invalid", "cannot read the context: the client has no session");
    return session;
  }

  /** Reads short files of a source: several that may be wanted are asked for at once. */
  async #reader(source: ContextSource, paths: readonly string[], tell: TellStatus): Promise<ReadText> {
    if (source.type === "none") return async () => undefined;
    if (source.type === "session") {
      const files = new MemoryFiles();
      const followPaths = paths.map((path) => posix.join("/", path).slice(1));
      const sync = { name: source.name, include: [], exclude: [], followPaths };
      await this.#session().sync(sync, files, this.#options.signal);
      return async (path) => files.read(path)?.toString("utf8");
    }
    const { root } = await this.#folder(source, tell);
    return async (path) => {
      if (root === undefined) return undefined;
      await using opened = await root.open();
      try {
        return readFileInRoot(opened.path, path, LONGEST_TEXT).toString("utf8");
      } catch (error) {
        if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
        throw error;
      }
    };
  }

  /** Its ignore file is looked for as well where that costs no further question. */
  async #readDockerfile(
    source: ContextSource,
    path: string,
    tell: TellStatus,
  ): Promise<LoadedDockerfile & { readonly isWhole: boolean }> {
    const { context, origin } = this.#request;
    if (origin === "docker" && posix.normalize(path).startsWith("../")) {
      throw new GantryError("invalid", `Forbidden path outside the build context: ${path} ()`);
    }
    if (source.type === "archive" || source.type === "http") {
      const { text } = await this.#folder(source, tell);
      // A Dockerfile came and nothing else, whatever it is called.
      if (text !== undefined) return { text, file: DEFAULT_NAME, ignore: undefined, isWhole: true };
    }
    // Some file systems' users are used to any case.
    const other = basename(path) === DEFAULT_NAME ? posix.join(posix.dirname(path), "dockerfile") : undefined;
    const ignorePath = `${path}.dockerignore`;
    const paths = [path, ignorePath, ...(other === undefined ? [] : [other, `${other}.dockerignore`])];
    const isMain = isSame(source, context);
    const read = await this.#reader(source, isMain ? [...paths, IGNORE_FILE] : paths, tell);
    for (const name of [path, ...(other === undefined ? [] : [other])]) {
      const text = await read(name);
      if (text === undefined) continue;
      if (origin === "docker" && text === "") {
        throw new GantryError("invalid", `the Dockerfile (${path}) cannot be empty`);
      }
      tell("transferring dockerfile:", text.length, 0, true);
      const own = (await read(`${name}.dockerignore`)) ?? (isMain ? await read(IGNORE_FILE) : undefined);
      const ignore = own === undefined ? undefined : readIgnoreFile(own);
      return { text, file: posix.normalize(name), ignore, isWhole: isMain || own !== undefined };
    }
    throw new GantryError(
      "invalid",
      origin === "docker"
        ? `Cannot locate specified Dockerfile: ${path}`
        : `failed to read dockerfile: open ${path}: no such file or directory`,
    );
  }

  /** While the Dockerfile comes, which may have an ignore file of its own: then this one was asked for in vain. */
  #askForIgnore(): void {
    this.#ignoreReader = this.#reader(this.#request.context, [IGNORE_FILE], () => {});
    this.#ignoreReader.catch(() => {});
  }

  async #mainIgnore(): Promise<IgnorePatterns | undefined> {
    const { context } = this.#request;
    // What another build makes is what is wanted of it.
    if (context.type === "none" || context.type === "input") return undefined;
    return toldStep("[internal] load .dockerignore", this.#options.onEvent, async (tell) => {
      const read = await (this.#ignoreReader ?? this.#reader(context, [IGNORE_FILE], tell));
      const text = await read(IGNORE_FILE);
      return text === undefined ? undefined : readIgnoreFile(text);
    });
  }

  async #include(context: string, path: string): Promise<string> {
    const text = await (await this.#reader(this.#named(context), [path], () => {}))(path);
    if (text !== undefined) return text;
    throw new GantryError("invalid", `cannot include ${path} of ${context}: no such file or directory`);
  }

  /** Of a folder of the client's, by the name that it has there. */
  async #ignoreOf(name: string): Promise<IgnorePatterns | undefined> {
    const source = this.#kept({ type: "session", name });
    const text = await (await this.#reader(source, [IGNORE_FILE], () => {}))(IGNORE_FILE);
    return text === undefined ? undefined : readIgnoreFile(text);
  }

  /** What a named context's value means, where it has files. */
  #named(name: string): ContextSource {
    if (name === "context") return this.#request.context;
    const value = this.#request.namedContexts.get(name);
    if (value === undefined || value.startsWith("local:")) {
      return this.#kept({ type: "session", name: value?.slice("local:".length) ?? name });
    }
    if (/^(docker-image|oci-layout|target|input):/.test(value)) {
      throw new GantryError("invalid", `cannot read files of the context ${name}: ${value} is no folder`);
    }
    const isArchive = /^https?:\/\//.test(value) && !/\.git(?:[#?]|$)/.test(value);
    return this.#kept(isArchive ? { type: "http", url: value } : { type: "git", url: value });
  }

  /** One value for equal sources, so that each is fetched once. */
  #kept(source: ContextSource): ContextSource {
    return [...this.#folders.keys()].find((one) => isSame(one, source)) ?? source;
  }
}

function isSame(one: ContextSource, other: ContextSource): boolean {
  if (one === other) return true;
  if (one.type === "session" && other.type === "session") return one.name === other.name;
  return (
    (one.type === "git" || one.type === "http") && one.type === other.type && "url" in other && one.url === other.url
  );
}

import { type FSWatcher, readdirSync, readFileSync, watch } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { readIgnoreFile } from "../../dockerfile/ignore-file.ts";
import { PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { isAside } from "./results.ts";

/** Changes come in crowds: an editor writes, renames and removes. */
const SETTLE_MS = 150;
const IGNORE_FILE = ".dockerignore";

/** What is looked at. */
export interface Watched {
  /** The context and named contexts that are folders. */
  readonly folders: readonly string[];
  /** Files that may lie elsewhere: the Dockerfile, and what is beside it by its name. */
  readonly files: readonly string[];
}

interface Root {
  readonly path: string;
  ignored: PatternMatcher | undefined;
}

/**
 * Files of which a change means another build, also while one runs. What .dockerignore leaves out is not looked at, nor
 * what builds write; the Dockerfile and .dockerignore themselves always are.
 */
export class FolderWatch implements Disposable {
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #roots: readonly Root[];
  readonly #files: ReadonlySet<string>;
  readonly #written = new Set<string>();
  #changed: string | undefined;
  #resolve: ((path: string) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor({ folders, files }: Watched) {
    this.#roots = folders.map((folder) => ({ path: resolve(folder), ignored: ignoredIn(folder) }));
    this.#files = new Set(files.map((file) => resolve(file)));
    for (const { path } of this.#roots) this.#add(path);
    // Of a folder, since a file that is written anew is another one.
    for (const file of this.#files) this.#listen(dirname(file), false);
  }

  /** Files and folders that the builds make: what was seen of them so far is no change, either. */
  leaveOut(written: readonly string[]): void {
    for (const path of written) this.#written.add(resolve(path));
    if (this.#changed !== undefined && this.#isIgnored(this.#changed)) this.#changed = undefined;
  }

  /** Resolves with a path when something has changed since the last call, and is quiet again. */
  async change(signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const { promise, resolve: done, reject } = Promise.withResolvers<string>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#resolve = done;
    if (this.#changed !== undefined) this.#settle();
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#resolve = undefined;
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
  }

  /** A folder with all that is in it. */
  #add(folder: string): void {
    if (this.#isIgnored(folder) || !this.#listen(folder, true)) return;
    try {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        if (entry.isDirectory()) this.#add(join(folder, entry.name));
      }
    } catch {
      // It has gone, or nobody may look into it: its files are in no build, either.
    }
  }

  /** False if it was listened to already, or is none. */
  #listen(folder: string, isWhole: boolean): boolean {
    if (this.#watchers.has(folder)) return false;
    try {
      const watcher = watch(folder, (_event, name) => this.#onChange(folder, name));
      watcher.on("error", () => this.#drop(folder));
      this.#watchers.set(folder, watcher);
      return isWhole;
    } catch {
      return false;
    }
  }

  #drop(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
  }

  #onChange(folder: string, name: string | null): void {
    const path = name === null ? folder : join(folder, name);
    // A folder that is removed tells its own name; one made in its place is another.
    if (basename(folder) === name) this.#drop(folder);
    const root = this.#rootOf(path);
    if (root !== undefined && path === join(root.path, IGNORE_FILE)) root.ignored = ignoredIn(root.path);
    if (this.#isIgnored(path) || (root === undefined && !this.#files.has(path))) return;
    this.#add(path);
    this.#changed = path;
    if (this.#resolve !== undefined) this.#settle();
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const [done, changed] = [this.#resolve, this.#changed];
      if (done === undefined || changed === undefined) return;
      this.#changed = undefined;
      const root = this.#rootOf(changed);
      done(root === undefined ? changed : relative(root.path, changed) || changed);
    }, SETTLE_MS);
  }

  #rootOf(path: string): Root | undefined {
    return this.#roots.find((root) => path === root.path || path.startsWith(`${root.path}/`));
  }

  #isIgnored(path: string): boolean {
    if (this.#files.has(path)) return false;
    if (isAside(path)) return true;
    for (const own of this.#written) if (path === own || path.startsWith(`${own}/`)) return true;
    const root = this.#rootOf(path);
    if (root === undefined || path === root.path) return false;
    const below = relative(root.path, path);
    return below !== IGNORE_FILE && (root.ignored?.matches(below) ?? false);
  }
}

function ignoredIn(root: string): PatternMatcher | undefined {
  try {
    return new PatternMatcher(readIgnoreFile(readFileSync(join(root, IGNORE_FILE), "utf8")));
  } catch {
    return undefined;
  }
}

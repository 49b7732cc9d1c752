import { type FSWatcher, readdirSync, readFileSync, watch } from "node:fs";
import { join, relative, resolve } from "node:path";
import { readIgnoreFile } from "../../dockerfile/ignore-file.ts";
import { PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { isAside } from "./results.ts";

/** Changes come in crowds: an editor writes, renames and removes. */
const SETTLE_MS = 150;

/** Folders of which a change means another build. What .dockerignore leaves out is not looked at, nor what builds write. */
export class FolderWatch implements Disposable {
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #roots: readonly { readonly root: string; readonly ignored: PatternMatcher | undefined }[];
  readonly #written: readonly string[];
  #changed: string | undefined;
  #resolve: ((path: string) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** `written` are files and folders that the builds make. */
  constructor(roots: readonly string[], written: readonly string[] = []) {
    this.#written = written.map((path) => resolve(path));
    this.#roots = roots.map((root) => ({ root, ignored: ignoredIn(root) }));
    for (const { root } of this.#roots) this.#add(root, root);
  }

  /** Resolves with a path when something has changed since the last call, and is quiet again. */
  async change(signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    return await new Promise<string>((resolve, reject) => {
      this.#resolve = resolve;
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      if (this.#changed !== undefined) this.#settle();
    });
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
  }

  #add(root: string, folder: string): void {
    if (this.#watchers.has(folder) || this.#isIgnored(folder)) return;
    try {
      const watcher = watch(folder, (_event, name) => this.#onChange(root, join(folder, name ?? "")));
      watcher.on("error", () => this.#drop(folder));
      this.#watchers.set(folder, watcher);
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        if (entry.isDirectory()) this.#add(root, join(folder, entry.name));
      }
    } catch {
      // It has gone.
      this.#drop(folder);
    }
  }

  #drop(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
  }

  #onChange(root: string, path: string): void {
    if (this.#isIgnored(path)) return;
    // A new folder is one to look into.
    this.#add(root, path);
    this.#changed = relative(root, path) || path;
    this.#settle();
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const [resolve, changed] = [this.#resolve, this.#changed];
      if (resolve === undefined || changed === undefined) return;
      this.#resolve = undefined;
      this.#changed = undefined;
      resolve(changed);
    }, SETTLE_MS);
  }

  #isIgnored(path: string): boolean {
    const full = resolve(path);
    if (isAside(full) || this.#written.some((own) => full === own || full.startsWith(`${own}/`))) return true;
    return this.#roots.some(({ root, ignored }) => {
      const below = relative(root, path);
      return below !== "" && !below.startsWith("..") && (ignored?.matches(below) ?? false);
    });
  }
}

function ignoredIn(root: string): PatternMatcher | undefined {
  try {
    return new PatternMatcher(readIgnoreFile(readFileSync(join(root, ".dockerignore"), "utf8")));
  } catch {
    return undefined;
  }
}

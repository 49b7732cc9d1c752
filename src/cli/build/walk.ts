import { lstatSync, readdirSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import { GO_MODE, goModeOf, hasGoMode } from "../../base/go-mode.ts";
import type { Stat } from "../../buildkit/packet.ts";
import { type FolderMatch, PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { errorLine } from "../error-line.ts";

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** What of a folder is wanted. Empty lists want all of it. */
export interface Wish {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly followPaths: readonly string[];
}

/**
 * The files of a folder in the order of a walk: folders before what is in them, names by their bytes. Owners are root's,
 * as a build wants them. A file that goes meanwhile is left out. Sockets are, too: nobody could use one.
 */
export function* walk(root: string, { include, exclude, followPaths }: Wish): Generator<Stat> {
  const wanted = [...include, ...followedPaths(root, followPaths)];
  const all = wanted.length === 0 || wanted.includes("") || wanted.includes(".");
  const walker = new Walker(
    root,
    all ? undefined : new PatternMatcher(wanted),
    exclude.length === 0 ? undefined : new PatternMatcher(exclude),
  );
  yield* walker.folder("", undefined, undefined, []);
}

/** A folder that was walked into and of which nothing was told yet: it is told when something in it is. */
interface Pending {
  readonly stat: Stat;
  told: boolean;
}

class Walker {
  readonly #root: string;
  readonly #include: PatternMatcher | undefined;
  readonly #prefixes: Prefixes | undefined;
  readonly #exclude: PatternMatcher | undefined;
  /** The first path of each file with several names. */
  readonly #seen = new Map<string, string>();

  constructor(root: string, include: PatternMatcher | undefined, exclude: PatternMatcher | undefined) {
    this.#root = root;
    this.#include = include;
    this.#prefixes = include === undefined ? undefined : new Prefixes(include);
    this.#exclude = exclude;
  }

  *folder(
    prefix: string,
    included: FolderMatch | undefined,
    excluded: FolderMatch | undefined,
    pending: readonly Pending[],
  ): Generator<Stat> {
    for (const name of this.#names(prefix)) {
      const path = prefix + name;
      const stat = this.#stat(path);
      if (stat === undefined) continue;
      const isFolder = hasGoMode(stat.mode, GO_MODE.dir);
      const ownExcluded = isFolder ? this.#exclude?.folderMatch() : undefined;
      const isExcluded = this.#exclude?.matchesBelow(path, excluded, ownExcluded) ?? false;
      if (isExcluded && (!isFolder || this.#exclude!.canSkip(path, ownExcluded!))) continue;
      const ownIncluded = isFolder ? this.#include?.folderMatch() : undefined;
      const isIncluded = this.#include?.matchesBelow(path, included, ownIncluded) ?? true;
      const isTold = isIncluded && !isExcluded;
      if (!isFolder && !isTold) continue;
      if (isFolder && !isIncluded && !this.#prefixes!.couldHave(path)) continue;
      if (isTold) yield* tell(pending);
      if (isTold) yield stat;
      if (!isFolder) continue;
      const own: Pending = { stat, told: isTold };
      yield* this.folder(`${path}/`, ownIncluded, ownExcluded, [...pending, own]);
    }
  }

  #names(prefix: string): string[] {
    try {
      return inOrder(readdirSync(`${this.#root}/${prefix}`));
    } catch (error) {
      if (prefix !== "" && hasCode(error, "ENOENT", "ENOTDIR")) return [];
      throw new GantryError("invalid", `cannot read the folder ${join(this.#root, prefix)}: ${messageOf(error)}`);
    }
  }

  #stat(path: string): Stat | undefined {
    const file = `${this.#root}/${path}`;
    let found: ReturnType<typeof bigStat>;
    try {
      found = bigStat(file);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw new GantryError("invalid", `cannot look at ${file}: ${messageOf(error)}`);
    }
    const mode = Number(found.mode);
    const type = mode & 0o170000;
    if (type === 0o140000) return undefined;
    const isDevice = type === 0o020000 || type === 0o060000;
    const device = isDevice ? found.rdev : 0n;
    return {
      path,
      mode: goModeOf(mode),
      uid: 0,
      gid: 0,
      ...this.#sizeAndLink(file, path, type, found),
      modTime: found.mtimeNs,
      devmajor: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
      devminor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
      xattrs: NO_XATTRS,
    };
  }

  #sizeAndLink(file: string, path: string, type: number, found: ReturnType<typeof bigStat>) {
    if (type === 0o120000) {
      const linkname = readlinkSync(file);
      return { size: Buffer.byteLength(linkname), linkname };
    }
    if (type !== 0o100000) return { size: 0, linkname: "" };
    if (found.nlink > 1n) {
      const key = `${found.dev}:${found.ino}`;
      const first = this.#seen.get(key);
      if (first !== undefined) return { size: 0, linkname: first };
      this.#seen.set(key, path);
    }
    return { size: Number(found.size), linkname: "" };
  }
}

function bigStat(file: string) {
  return lstatSync(file, { bigint: true });
}

function* tell(pending: readonly Pending[]): Generator<Stat> {
  for (const folder of pending) {
    if (folder.told) continue;
    folder.told = true;
    yield folder.stat;
  }
}

/** Says of folders whether something that patterns want may be below them. */
class Prefixes {
  readonly #anywhere: boolean;
  /** Of each pattern, its first part, its first two, … without the last. */
  readonly #heads: readonly (readonly PatternMatcher[])[];

  constructor({ patterns }: PatternMatcher) {
    this.#anywhere = patterns.some((pattern) => pattern.includes("**"));
    this.#heads = patterns.map((pattern) => {
      const parts = pattern.split("/");
      return parts.slice(1).map((_, index) => new PatternMatcher([parts.slice(0, index + 1).join("/")]));
    });
  }

  couldHave(folder: string): boolean {
    if (this.#anywhere) return true;
    const depth = folder.split("/").length;
    return this.#heads.some((heads) => heads[depth - 1]?.matches(folder) ?? false);
  }
}

/** By their bytes. Of names without letters beyond the surrogates the order is the same by units. */
function inOrder(names: string[]): string[] {
  if (!names.some((name) => /[\ud800-\uffff]/.test(name))) return names.sort();
  return names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

const MAX_LINKS = 255;

/** Paths, and what links on their way lead to: all inside the root. Wildcards stay as they are where nothing matches. */
function followedPaths(root: string, paths: readonly string[]): string[] {
  const found = new Set<string>();
  for (const path of paths) follow(root, clean(path), found, { left: MAX_LINKS });
  return [...found].sort();
}

function follow(root: string, path: string, found: Set<string>, links: { left: number }): void {
  const parts = path === "" ? [] : path.split("/");
  for (const [index, part] of parts.entries()) {
    const folder = parts.slice(0, index).join("/");
    if (/[*?[]/.test(part)) {
      // What lies behind may be links: those that match are looked at one by one.
      const matcher = new PatternMatcher([part]);
      for (const name of namesIn(join(root, folder))) {
        if (matcher.matches(name))
          follow(root, [...parts.slice(0, index), name, ...parts.slice(index + 1)].join("/"), found, links);
      }
      found.add(path);
      return;
    }
    const target = linkAt(join(root, folder, part));
    if (target === undefined) continue;
    found.add(parts.slice(0, index + 1).join("/"));
    if (links.left-- <= 0) return;
    const inside = clean(target.startsWith("/") ? target : `${folder}/${target}`);
    follow(root, clean([inside, ...parts.slice(index + 1)].join("/")), found, links);
    return;
  }
  found.add(path);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkAt(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}

/** Without slashes at its ends, and with no way out of the root. */
function clean(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** The folder itself, links followed. Throws invalid, naming what it should be. */
export function realFolder(path: string): string {
  try {
    const real = realpathSync(path);
    if (lstatSync(real).isDirectory()) return real;
  } catch (error) {
    if (hasCode(error, "ENOENT"))
      throw new GantryError("invalid", `unable to prepare context: path ${JSON.stringify(path)} not found`);
    throw new GantryError("invalid", `unable to prepare context: ${errorLine(error)}`);
  }
  throw new GantryError("invalid", `unable to prepare context: path ${JSON.stringify(path)} is not a directory`);
}

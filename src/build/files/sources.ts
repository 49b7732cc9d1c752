import { closeSync, constants } from "node:fs";
import { GantryError, hasCode, unlessCode } from "../../base/errors.ts";
import { evaluateInRoot, type FileStat, fstatat, O_PATH, openat, openInRoot } from "../../kernel/path.ts";
import { namesIn } from "./folder.ts";
import { hasWildcards, matchesName } from "./glob.ts";

const FOLDER = O_PATH | constants.O_DIRECTORY;
const LISTED = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const DEEPEST = 1000;

/** A thing in a root: an open folder (the caller's to close), its name there ("." is the folder itself). */
export interface Source {
  readonly dir: number;
  readonly base: string;
  readonly stat: FileStat;
  /** Absolute in the root, without links. */
  readonly path: string;
}

/** Where the sources of a copy are: absolute paths in the root, folders by name; what has no wildcards isn't looked up. */
export function matchSources(
  root: number,
  source: string,
  { wildcard, followLinks }: { readonly wildcard: boolean; readonly followLinks: boolean },
): string[] {
  const parts = source.split("/").filter((part) => part !== "" && part !== ".");
  const first = wildcard ? parts.findIndex(hasWildcards) : -1;
  if (first < 0) return [`/${parts.join("/")}`];
  const prefix = parts.slice(0, first).join("/");
  const base = followLinks ? evaluateInRoot(root, prefix) : inFolderOf(root, prefix);
  const folder = unlessCode(["ENOENT", "ENOTDIR", "ELOOP"], () => openInRoot(root, base, FOLDER));
  if (folder === undefined) return [];
  const found: string[] = [];
  try {
    collect(openat(folder, ".", LISTED), base === "/" ? "" : base, parts.slice(first), found);
  } finally {
    closeSync(folder);
  }
  return found;
}

/** Takes the folder over. Links are none of what is walked. */
function collect(dir: number, path: string, [pattern = "", ...rest]: readonly string[], found: string[]): void {
  try {
    if (rest.length > DEEPEST) throw new GantryError("invalid", "a pattern has too many parts");
    for (const name of namesIn(dir)) {
      if (!matchesName(pattern, name)) continue;
      if (rest.length === 0) {
        found.push(`${path}/${name}`);
        continue;
      }
      const next = unlessCode(["ENOTDIR", "ELOOP", "ENOENT"], () => openat(dir, name, LISTED));
      if (next !== undefined) collect(next, `${path}/${name}`, rest, found);
    }
  } finally {
    closeSync(dir);
  }
}

/** The path with the links followed that lead to its last name. */
function inFolderOf(root: number, path: string): string {
  const slash = path.lastIndexOf("/");
  if (path === "") return "/";
  const folder = evaluateInRoot(root, path.slice(0, Math.max(slash, 0)));
  return `${folder === "/" ? "" : folder}/${path.slice(slash + 1)}`;
}

/** Opens the folder that a source is in; undefined if there is no such thing. */
export function openSource(root: number, path: string, followLinks: boolean): Source | undefined {
  const clean = path.replace(/\/+$/, "");
  const where = followLinks ? evaluateInRoot(root, clean) : inFolderOf(root, clean.replace(/^\/+/, ""));
  let dir: number | undefined;
  try {
    const slash = where.lastIndexOf("/");
    dir = openInRoot(root, where.slice(0, slash) || "/", FOLDER);
    const base = where.slice(slash + 1) || ".";
    return { dir, base, stat: fstatat(dir, base), path: where };
  } catch (error) {
    if (dir !== undefined) closeSync(dir);
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}

/** Of a source with `/./`, the folder before it and the pattern of what is wanted in there. */
export function splitPivot(source: string): { readonly base: string; readonly pattern: string } {
  const pivot = source.indexOf("/./");
  const [base, pattern] = pivot < 0 ? ["/", source] : [source.slice(0, pivot), source.slice(pivot + 3)];
  const clean = pattern
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
  return { base: base === "" ? "/" : base, pattern: clean };
}

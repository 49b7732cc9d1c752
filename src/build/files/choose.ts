import { posix } from "node:path";
import { GantryError } from "../../base/errors.ts";
import { PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import type { FileAction } from "../graph.ts";
import { hasWildcards } from "./glob.ts";
import { matchSources, openSource, type Source, splitPivot } from "./sources.ts";
import { type Filter, filterOf } from "./walk.ts";

export type Choice = Pick<
  Extract<FileAction, { type: "copy" }>,
  "wildcard" | "allowEmpty" | "followLinks" | "parents" | "exclude"
>;

/** Something that a copy reads. */
export interface Chosen {
  /** Absolute in the root. */
  readonly path: string;
  readonly filter: Filter;
  /** With `--parents`: what has to be there, below the path. */
  readonly required: string | undefined;
  /** Its folder is the caller's to close. Throws not-found. */
  open(): Source;
}

/** What one source of a copy means in its root; an undefined root is empty. Throws not-found. */
export function* choose(root: number | undefined, source: string, choice: Choice): Generator<Chosen> {
  const { wildcard, followLinks, allowEmpty } = choice;
  const { base, pattern } = choice.parents ? splitPivot(source) : { base: source, pattern: undefined };
  if (root === undefined && isRoot(base)) return;
  const isPattern = wildcard && hasWildcards(base);
  const paths = root === undefined ? [] : matchSources(root, base, { wildcard, followLinks });
  if (paths.length === 0 && (!isPattern || !allowEmpty)) throw missing(base);
  const filter = filterOf(pattern === undefined || pattern === "" ? undefined : [pattern], choice.exclude);
  const excludedNames = isPattern && choice.exclude.length > 0 ? new PatternMatcher(choice.exclude) : undefined;
  const required = pattern === undefined || pattern === "" || isPattern || hasWildcards(pattern) ? undefined : pattern;
  for (const path of paths) {
    const open = (): Source => {
      const found = openSource(root!, path, followLinks);
      if (found === undefined) throw missing(path);
      return found;
    };
    // A file that a wildcard has found is left out by its name, as one in a folder is: so says the Dockerfile's reference.
    if (excludedNames?.matches(posix.basename(path)) === true) continue;
    yield { path, filter, required, open };
  }
}

/** True of a source that is all of its root. */
export function isRoot(source: string): boolean {
  return /^[/.]*$/.test(source);
}

/** BuildKit's words, with the path; the caller says of which root. */
export function missing(path: string): GantryError & { readonly path: string } {
  const absolute = path.startsWith("/") ? path : `/${path}`;
  return Object.assign(new GantryError("not-found", `${JSON.stringify(absolute)}: not found`), { path: absolute });
}

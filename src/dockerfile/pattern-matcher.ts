import { isGlob } from "./glob-syntax.ts";
import { cleanPath, trimSpace } from "./go-text.ts";
import { type Pattern, patternOf } from "./pattern.ts";
import { invalid } from "./source.ts";

/** What is known of a folder: which patterns match it or a folder above it. */
export type FolderMatch = Uint8Array;

interface Rule {
  readonly pattern: Pattern;
  /** `!`: what it matches is not matched after all. */
  readonly exception: boolean;
}

/** Patterns of an ignore file in order, the last that matches wins; as moby/patternmatcher has it. */
export class PatternMatcher {
  readonly #rules: readonly Rule[];

  /** Throws `invalid` for a malformed pattern. */
  constructor(patterns: Iterable<string>) {
    this.#rules = [...patterns]
      .map(trimSpace)
      .filter((text) => text !== "")
      .map(ruleOf);
  }

  /** No path matches. */
  get isEmpty(): boolean {
    return this.#rules.every(({ exception }) => exception);
  }

  get hasExceptions(): boolean {
    return this.#rules.some(({ exception }) => exception);
  }

  /** Patterns without their exceptions, as they were cleaned. */
  get patterns(): readonly string[] {
    return this.#rules.filter(({ exception }) => !exception).map(({ pattern }) => pattern.text);
  }

  /** Whether a path, or a folder above it, is matched in the end. The path is relative and has slashes. */
  matches(path: string): boolean {
    const above = foldersAbove(path);
    let matched = false;
    for (const { pattern, exception } of this.#rules) {
      if (exception !== matched) continue;
      if (pattern.matches(path) || above.some((folder) => pattern.matches(folder))) matched = !exception;
    }
    return matched;
  }

  /**
   * The same on a walk from the root: `above` is what the folder's own call filled in (undefined at the root), and a
   * folder's call is given `own`, made by `folderMatch`, to fill. Takes no memory of its own. As in the original an
   * exception counts for what is below a folder only if the folder was matched before it.
   */
  matchesBelow(path: string, above: FolderMatch | undefined, own?: FolderMatch): boolean {
    const rules = this.#rules;
    let matched = false;
    for (let index = 0; index < rules.length; index++) {
      const { pattern, exception } = rules[index]!;
      let match = above !== undefined && above[index] === 1;
      if (!match && exception === matched) match = pattern.matches(path);
      if (own !== undefined) own[index] = match ? 1 : 0;
      if (match) matched = !exception;
    }
    return matched;
  }

  folderMatch(): FolderMatch {
    return new Uint8Array(this.#rules.length);
  }

  /** True if a folder that matched has nothing in it that an exception brings back: it needn't be walked. */
  canSkip(folder: string, own: FolderMatch): boolean {
    for (let index = this.#rules.length - 1; index >= 0; index--) {
      const { pattern, exception } = this.#rules[index]!;
      // What is below matches this pattern through the folder, whatever rules before it say.
      if (!exception && own[index] === 1) return true;
      if (exception && (own[index] === 1 || pattern.couldMatchBelow(folder))) return false;
    }
    return false;
  }
}

function ruleOf(text: string): Rule {
  const clean = cleanPath(text);
  const exception = clean.startsWith("!");
  const pattern = exception ? clean.slice(1) : clean;
  if (exception && pattern === "") throw invalid('illegal exclusion pattern: "!"');
  if (!isGlob(pattern)) throw invalid("syntax error in pattern");
  return { pattern: patternOf(pattern), exception };
}

function foldersAbove(path: string): string[] {
  const slash = path.lastIndexOf("/");
  if (slash < 0) return [];
  const parts = cleanPath(slash === 0 ? "/" : path.slice(0, slash)).split("/");
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}

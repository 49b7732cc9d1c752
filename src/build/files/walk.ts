import { closeSync, constants } from "node:fs";
import { GantryError } from "../../base/errors.ts";
import { type FolderMatch, PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { type FileStat, fstatat, openat } from "../../kernel/path.ts";
import { isFolderStat, namesIn } from "./folder.ts";
import type { Source } from "./sources.ts";

const LISTED = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** No path can be longer (PATH_MAX). A level has a descriptor while it is walked. */
const DEEPEST = 2048;

/** Which files of a source are wanted. */
export interface Filter {
  /** Undefined is all. */
  readonly include: PatternMatcher | undefined;
  readonly exclude: PatternMatcher | undefined;
}

export function filterOf(include: readonly string[] | undefined, exclude: readonly string[]): Filter {
  return {
    include: include && new PatternMatcher(include),
    exclude: exclude.length === 0 ? undefined : new PatternMatcher(exclude),
  };
}

/** A thing that is wanted: `enter` and `leave` are of folders, what is in them comes between. */
export interface Walked {
  readonly event: "enter" | "leave" | "leaf";
  /** Below the source; "" is the source itself. */
  readonly path: string;
  /** Open on the folder that it is in, for as long as the walk stands here. */
  readonly dir: number;
  readonly base: string;
  readonly stat: FileStat;
  /** Of a folder: open on it until it is left. */
  readonly own: number;
  /** Not only because of something in it. */
  readonly isWanted: boolean;
}

interface Level {
  readonly walked: Walked;
  readonly names: readonly string[];
  at: number;
  /** `enter` was told: a folder that isn't wanted itself is, once something in it is. */
  isTold: boolean;
  readonly included: FolderMatch | undefined;
  readonly excluded: FolderMatch | undefined;
}

/**
 * All that is wanted of a source, by name, folders before what is in them. No link is followed. The source itself is
 * wanted whatever the patterns say.
 */
export function* walk(source: Omit<Source, "path">, { include, exclude }: Filter): Generator<Walked> {
  const levels: Level[] = [];
  const open = (walked: Omit<Walked, "own" | "event">, matches: Pick<Level, "included" | "excluded">) => {
    if (levels.length === DEEPEST) {
      throw new GantryError("invalid", `cannot copy: its folders are nested deeper than ${DEEPEST}`);
    }
    const own = openat(walked.dir, walked.base, LISTED);
    try {
      levels.push({
        walked: { ...walked, event: "enter", own },
        names: namesIn(own),
        at: 0,
        isTold: walked.isWanted,
        ...matches,
      });
    } catch (error) {
      closeSync(own);
      throw error;
    }
  };
  function* told(): Generator<Walked> {
    for (const level of levels) {
      if (level.isTold) continue;
      level.isTold = true;
      yield level.walked;
    }
  }
  const { dir, base: name, stat: look } = source;
  const top = { path: "", dir, base: name, stat: look, isWanted: true };
  if (!isFolderStat(source.stat)) {
    yield { ...top, event: "leaf", own: -1 };
    return;
  }
  try {
    open(top, { included: undefined, excluded: undefined });
    yield levels[0]!.walked;
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const base = level.names[level.at++];
      if (base === undefined) {
        if (level.isTold) yield { ...level.walked, event: "leave" };
        levels.pop();
        closeSync(level.walked.own);
        continue;
      }
      const { own: dir, path: above } = level.walked;
      const path = above === "" ? base : `${above}/${base}`;
      const included = include?.folderMatch();
      const excluded = exclude?.folderMatch();
      const isExcluded = exclude?.matchesBelow(path, level.excluded, excluded) === true;
      // Before it is looked at: what is left out may be many.
      if (isExcluded && !exclude!.hasExceptions) continue;
      const isIncluded = include === undefined || include.matchesBelow(path, level.included, included);
      const isWanted = isIncluded && !isExcluded;
      const stat = fstatat(dir, base);
      const found = { path, dir, base, stat, isWanted };
      if (isFolderStat(stat)) {
        if (isWanted) yield* told();
        open(found, { included, excluded });
        if (isWanted) yield levels.at(-1)!.walked;
      } else if (isWanted) {
        yield* told();
        yield { ...found, event: "leaf", own: -1 };
      }
    }
  } finally {
    for (const { walked } of levels) closeSync(walked.own);
  }
}

import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { Breath } from "../../base/breath.ts";
import { PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { fchmod, fstatat, linkat, mkdirat, openat, utimensat } from "../../kernel/path.ts";
import { namesIn } from "../../snapshots/remove-tree.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Deeper than any folder that is built from; each level has two descriptors open. */
const DEEPEST = 200;

/**
 * Makes a new folder with what patterns of an ignore file leave of another, its files linked. False, and no folder, if
 * they match nothing in it.
 */
export async function leaveOut(from: string, patterns: readonly string[], to: string): Promise<boolean> {
  const matcher = new PatternMatcher(patterns);
  if (matcher.isEmpty) return false;
  const fd = openSync(from, FOLDER);
  try {
    if (!(await walk({ matcher, breath: new Breath(), anyGone: false }, fd, undefined, "", 0, undefined))) return false;
    mkdirSync(to, { mode: 0o755 });
    const target = openSync(to, FOLDER);
    try {
      const own = new Target(undefined, target, "", fd);
      await walk({ matcher, breath: new Breath(), anyGone: false }, fd, own, "", 0, undefined);
    } finally {
      closeSync(target);
    }
    return true;
  } finally {
    closeSync(fd);
  }
}

interface Walk {
  readonly matcher: PatternMatcher;
  readonly breath: Breath;
  anyGone: boolean;
}

/** A folder that is made when the first of what it keeps is put into it. */
class Target {
  readonly #above: Target | undefined;
  readonly #name: string;
  readonly #source: number;
  #fd: number | undefined;

  constructor(above: Target | undefined, fd: number | undefined, name: string, source: number) {
    this.#above = above;
    this.#fd = fd;
    this.#name = name;
    this.#source = source;
  }

  open(): number {
    if (this.#fd !== undefined) return this.#fd;
    const above = this.#above!.open();
    mkdirat(above, this.#name, 0o700);
    this.#fd = openat(above, this.#name, FOLDER);
    return this.#fd;
  }

  /** When it is full. */
  close(): void {
    if (this.#fd === undefined) return;
    const { mode, mtime } = fstatat(this.#source, "");
    fchmod(this.#fd, mode & 0o7777);
    utimensat(this.#fd, "", mtime, mtime);
    closeSync(this.#fd);
  }
}

/** Whether anything is left out. Without a target it ends at the first. */
async function walk(
  state: Walk,
  dir: number,
  target: Target | undefined,
  path: string,
  depth: number,
  above: Uint8Array | undefined,
): Promise<boolean> {
  const { matcher } = state;
  for (const name of namesIn(dir)) {
    if (state.anyGone && target === undefined) return true;
    const child = path === "" ? name : `${path}/${name}`;
    const isFolder = (fstatat(dir, name).mode & constants.S_IFMT) === constants.S_IFDIR;
    const own = isFolder ? matcher.folderMatch() : undefined;
    const isGone = matcher.matchesBelow(child, above, own);
    state.anyGone ||= isGone;
    if (state.breath.isDue) await state.breath.take();
    if (!isFolder) {
      if (!isGone && target !== undefined) linkat(dir, name, target.open(), name);
      continue;
    }
    if ((isGone && matcher.canSkip(child, own!)) || depth >= DEEPEST) continue;
    const fd = openat(dir, name, FOLDER);
    try {
      const inner = target === undefined ? undefined : new Target(target, undefined, name, fd);
      if (inner !== undefined && !isGone) inner.open();
      await walk(state, fd, inner, child, depth + 1, own);
      inner?.close();
    } finally {
      closeSync(fd);
    }
  }
  return state.anyGone;
}

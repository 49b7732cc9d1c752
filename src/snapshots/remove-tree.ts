import { close, closeSync, constants, readdirSync } from "node:fs";
import { promisify } from "node:util";
import { Breath } from "../base/breath.ts";
import { bytesToName } from "../base/byte-string.ts";
import { hasCode, unlessCode } from "../base/errors.ts";
import { makeRemovable } from "../kernel/file-flags.ts";
import { AT, fstatat, O_PATH, openat, openFileAt, openOnMount, renameat, unlinkat } from "../kernel/path.ts";

/** Deeper than this, folders are moved up first: a container can nest them past every limit of paths and descriptors. */
const DEEPEST = 64;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** The kernel frees about so many bytes in a millisecond, at worst. */
const LARGE = 16 << 20;
const closeAside = promisify(close);
let spilled = 0;

/** The names in an open folder, as strings that keep their bytes. */
export function namesIn(fd: number): string[] {
  return readdirSync(`/proc/self/fd/${fd}`, { encoding: "buffer" }).map((name) => bytesToName(name));
}

/**
 * Removes whatever `name` is, all of it, following nothing; no error if it isn't there. What chattr(1) keeps from being
 * changed goes, too. EXDEV where something is mounted within: what it holds stays. Synchronous.
 */
export function removeTreeSync(dir: number, name: string): void {
  for (const held of removal(dir, name)) if (held !== undefined) closeSync(held);
}

/** As `removeTreeSync`, with turns of the event loop in between; what large files take up is freed by another thread. */
export async function removeTree(dir: number, name: string): Promise<void> {
  const breath = new Breath();
  for (const held of removal(dir, name)) {
    if (held !== undefined) await closeAside(held);
    else if (breath.isDue) await breath.take();
  }
}

/** Yields between removals, and descriptors of large files without a name: closing one frees it. */
function* removal(dir: number, name: string): Generator<number | undefined> {
  const moved: string[] = [name];
  for (let next = moved.pop(); next !== undefined; next = moved.pop())
    yield* removeOne(dir, next, 0, (from, deep) => {
      const short = `.deep-${process.pid}-${++spilled}`;
      renameat(from, deep, dir, short);
      moved.push(short);
    });
}

function* removeOne(
  dir: number,
  name: string,
  depth: number,
  spill: (dir: number, name: string) => void,
): Generator<number | undefined> {
  const held = heldIfLarge(dir, name);
  let wasUnlinked = false;
  try {
    wasUnlinked = isUnlinked(dir, name, depth);
  } finally {
    if (held !== undefined && !wasUnlinked) closeSync(held);
  }
  if (wasUnlinked) {
    yield held;
    return;
  }
  if (depth === DEEPEST) {
    spill(dir, name);
    return;
  }
  // Between two turns another may have removed it: a start empties the trash while a snapshot is on its way there.
  const fd = ifThere(() => openOnMount(dir, name, FOLDER));
  if (fd === undefined) return;
  try {
    for (const child of namesIn(fd)) yield* removeOne(fd, child, depth + 1, spill);
  } finally {
    closeSync(fd);
  }
  ifThere(() => unlinkat(dir, name, AT.removedir));
  yield undefined;
}

/** A descriptor by which a large file lasts beyond its name. */
function heldIfLarge(dir: number, name: string): number | undefined {
  const stat = ifThere(() => fstatat(dir, name));
  if (stat === undefined || stat.blocks * 512 < LARGE || (stat.mode & constants.S_IFMT) !== constants.S_IFREG)
    return undefined;
  return ifThere(() => openat(dir, name, O_PATH | constants.O_NOFOLLOW));
}

/** False for a folder. */
function isUnlinked(dir: number, name: string, depth: number): boolean {
  for (let tries = 1; ; tries++) {
    try {
      unlinkat(dir, name);
      return true;
    } catch (error) {
      if (hasCode(error, "ENOENT")) return true;
      if (hasCode(error, "EISDIR")) return false;
      if (!hasCode(error, "EPERM") || tries === 2) throw error;
      // The folder that the tree is in isn't this one's to change.
      const isFree = depth > 0 && makeRemovable(dir);
      if (!makeNameRemovable(dir, name) && !isFree) throw error;
    }
  }
}

function makeNameRemovable(dir: number, name: string): boolean {
  const fd = unlessCode(["ENOTDIR"], () => openat(dir, name, FOLDER)) ?? openFileAt(dir, name);
  if (fd === undefined) return false;
  try {
    return makeRemovable(fd);
  } finally {
    closeSync(fd);
  }
}

function ifThere<T>(act: () => T): T | undefined {
  return unlessCode(["ENOENT"], act);
}

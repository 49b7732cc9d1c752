import { closeSync, constants, readdirSync } from "node:fs";
import { Breath } from "../base/breath.ts";
import { bytesToName } from "../base/byte-string.ts";
import { hasCode, unlessCode } from "../base/errors.ts";
import { AT, openat, renameat, unlinkat } from "../kernel/path.ts";

/** Deeper than this, folders are moved up first: a container can nest them past every limit of paths and descriptors. */
const DEEPEST = 64;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
let spilled = 0;

/** The names in an open folder, as strings that keep their bytes. */
export function namesIn(fd: number): string[] {
  return readdirSync(`/proc/self/fd/${fd}`, { encoding: "buffer" }).map((name) => bytesToName(name));
}

/** Removes whatever `name` is, all of it, following nothing; no error if it isn't there. Synchronous. */
export function removeTreeSync(dir: number, name: string): void {
  for (const _ of removal(dir, name)) void _;
}

/** As `removeTreeSync`, with turns of the event loop in between. */
export async function removeTree(dir: number, name: string): Promise<void> {
  const breath = new Breath();
  for (const _ of removal(dir, name)) if (breath.isDue) await breath.take();
}

function* removal(dir: number, name: string): Generator<void> {
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
): Generator<void> {
  try {
    unlinkat(dir, name);
    return;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return;
    if (!hasCode(error, "EISDIR", "EPERM")) throw error;
  }
  if (depth === DEEPEST) {
    spill(dir, name);
    return;
  }
  // Between two turns another may have removed it: a start empties the trash while a snapshot is on its way there.
  const fd = ifThere(() => openat(dir, name, FOLDER));
  if (fd === undefined) return;
  try {
    for (const child of namesIn(fd)) {
      yield* removeOne(fd, child, depth + 1, spill);
      // A large file alone takes a while.
      yield;
    }
  } finally {
    closeSync(fd);
  }
  ifThere(() => unlinkat(dir, name, AT.removedir));
}

function ifThere<T>(act: () => T): T | undefined {
  return unlessCode(["ENOENT"], act);
}

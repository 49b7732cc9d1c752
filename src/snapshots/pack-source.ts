import { closeSync, constants, openSync } from "node:fs";
import { setNoDevices } from "../kernel/mount.ts";
import { copyMount } from "../kernel/mount-tree.ts";
import { Below } from "./below.ts";
import { type Change, type SizeCount, treeChanges, upperChanges } from "./changes.ts";
import { packLayer } from "./pack-layer.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY;

/** Where the folders of a snapshot are: what a thread needs to pack what it adds to its parent. */
export interface PackSource {
  /** What it adds. */
  readonly fs: string;
  /** What lies below, nearest first, a container's mount points last. */
  readonly below: readonly string[];
  /** Deletions are overlayfs's marks in `fs`; else `fs` is the whole tree. */
  readonly marks: boolean;
  readonly hasParent: boolean;
  /** Nobody writes to it. */
  readonly isStill: boolean;
}

export interface OpenSource extends Disposable {
  readonly fs: number;
  readonly below: Below;
}

/** Devices in what somebody writes to can't be opened, whatever they take the place of meanwhile. */
export function openSource({ below, fs, isStill, marks }: PackSource): OpenSource {
  const fds: number[] = [];
  const close = () => {
    for (const fd of fds) closeSync(fd);
  };
  try {
    fds.push(isStill ? openSync(fs, FOLDER) : openWithoutDevices(fs));
    for (const path of below) fds.push(openSync(path, FOLDER));
  } catch (error) {
    close();
    throw error;
  }
  const [top = -1, ...rest] = fds;
  return { fs: top, below: new Below(rest, marks, rest.at(-1)), [Symbol.dispose]: close };
}

function openWithoutDevices(path: string): number {
  const mount = copyMount(path, { recursive: false });
  try {
    setNoDevices(`/proc/self/fd/${mount}`);
    return openSync(`/proc/self/fd/${mount}`, FOLDER);
  } finally {
    closeSync(mount);
  }
}

export function changesOf({ marks }: PackSource, { below, fs }: OpenSource): Generator<Change> {
  return marks ? upperChanges(fs, below) : treeChanges(below, fs);
}

export interface PackSourceOptions {
  /** Counts what its files take up. */
  readonly count?: SizeCount | undefined;
  /** A piece is done with when the next is asked for: all are the same memory. */
  readonly oneByOne?: boolean;
}

/** What a snapshot adds to its parent as the tar of a layer. */
export async function* packSource(source: PackSource, options: PackSourceOptions = {}): AsyncGenerator<Buffer> {
  using open = openSource(source);
  const all = changesOf(source, open);
  const changes = options.count === undefined ? all : options.count.counted(all);
  yield* packLayer(source.hasParent ? changes : withoutMarks(changes), {
    isStill: source.isStill,
    oneByOne: options.oneByOne === true,
  });
}

/** What stands on nothing hides nothing: overlayfs marks new folders all the same. */
function* withoutMarks(changes: Iterable<Change>): Generator<Change> {
  for (const change of changes) if (change.stat !== undefined) yield change;
}

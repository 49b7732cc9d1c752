import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { detachMount, listMounts, MNT, mountOverlay, unmount } from "../../kernel/mount.ts";
import { copyTree } from "../../snapshots/copy-tree.ts";
import { removeTree } from "../../snapshots/remove-tree.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export interface WritableCopiesOptions {
  /** On the data root: what is written goes there. */
  readonly folder: string;
  /** Below the exec root: where the copies are mounted. */
  readonly places: string;
  /** False where overlayfs can't be used: then they are whole copies. */
  readonly overlay: boolean;
}

export interface WritableCopy extends AsyncDisposable {
  readonly path: string;
}

/** Folders that show others and take writes, which are lost with them. */
export class WritableCopies {
  readonly #options: WritableCopiesOptions;
  #count = 0;

  constructor(options: WritableCopiesOptions) {
    this.#options = options;
  }

  /** Takes down what a crash left. Before any is made. */
  async recover(): Promise<void> {
    const { folder, places } = this.#options;
    for (const path of [folder, places]) mkdirSync(path, { recursive: true, mode: 0o700 });
    for (const { target } of listMounts(places).toReversed()) unmount(target, MNT.DETACH | MNT.NOFOLLOW);
    // Empty once nothing is mounted there; never what is in them.
    for (const name of readdirSync(places)) rmdirSync(join(places, name));
    for (const name of readdirSync(folder)) await remove(folder, name);
  }

  async make(source: string, signal: AbortSignal): Promise<WritableCopy> {
    const { folder, places, overlay } = this.#options;
    const name = `${++this.#count}`;
    const own = join(folder, name);
    await using undo = new AsyncDisposableStack();
    mkdirSync(own, { mode: 0o700 });
    undo.defer(() => remove(folder, name));
    const [upper, work] = [join(own, "fs"), join(own, "work")];
    for (const path of [upper, work]) mkdirSync(path);
    const { uid, gid, mode } = statSync(source);
    chownSync(upper, uid, gid);
    chmodSync(upper, mode & 0o7777);
    if (!overlay) {
      await copy(source, upper, signal);
      const lifetime = undo.move();
      return { path: upper, [Symbol.asyncDispose]: () => lifetime.disposeAsync() };
    }
    const place = join(places, name);
    mkdirSync(place, { mode: 0o700 });
    undo.defer(() => void rmdirSync(place));
    mountOverlay(place, { lower: [source], upper, work, options: OPTIONS });
    undo.defer(() => detachMount(place));
    const lifetime = undo.move();
    return { path: place, [Symbol.asyncDispose]: () => lifetime.disposeAsync() };
  }
}

/** Nothing of it outlives the step, so nothing is written to the disk for its own sake. */
const OPTIONS = ["index=off", "redirect_dir=off", "metacopy=off", "volatile"];

async function copy(source: string, target: string, signal: AbortSignal): Promise<void> {
  const from = openSync(`${source}/.`, FOLDER);
  try {
    const to = openSync(target, FOLDER);
    try {
      await copyTree(from, to, { signal });
    } finally {
      closeSync(to);
    }
  } finally {
    closeSync(from);
  }
}

async function remove(folder: string, name: string): Promise<void> {
  const fd = openSync(folder, FOLDER);
  try {
    await removeTree(fd, name);
  } finally {
    closeSync(fd);
  }
}

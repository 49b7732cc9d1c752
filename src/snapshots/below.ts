import { closeSync, constants } from "node:fs";
import { type FileStat, openat, statIfThere } from "../kernel/path.ts";
import { getXattr } from "../kernel/xattr.ts";
import { OPAQUE_XATTR } from "./layer-name.ts";
import { namesIn } from "./remove-tree.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** What a name was before: where it lies and what it is. */
export interface Found {
  readonly dir: number;
  readonly stat: FileStat;
}

/**
 * One folder as a stack of layers shows it, without mounting them: open folders, topmost first. With `marks` the
 * layers are overlayfs's, whose whiteouts hide names and whose opaque folders hide all beneath.
 */
export class Below {
  readonly #folders: readonly number[];
  readonly #marks: boolean;
  readonly #furniture: number | undefined;

  /**
   * The descriptors stay the caller's. `furniture` is one of them: what is in it is found, but where it is missing
   * nobody has removed it.
   */
  constructor(folders: readonly number[], marks: boolean, furniture?: number) {
    this.#folders = folders;
    this.#marks = marks;
    this.#furniture = furniture;
  }

  find(base: string): Found | undefined {
    for (const dir of this.#folders) {
      const stat = statIfThere(dir, base);
      if (stat !== undefined) return this.#marks && isWhiteout(stat) ? undefined : { dir, stat };
    }
    return undefined;
  }

  /** Without those that only the furniture has. */
  names(): Set<string> {
    const seen = new Set<string>();
    const hidden = new Set<string>();
    for (const dir of this.#folders) {
      if (dir === this.#furniture) continue;
      for (const base of namesIn(dir)) {
        if (seen.has(base) || hidden.has(base)) continue;
        const stat = this.#marks ? statIfThere(dir, base) : undefined;
        (stat !== undefined && isWhiteout(stat) ? hidden : seen).add(base);
      }
    }
    return seen;
  }

  /** The folder of this name in it, empty if there is none. To be disposed of. */
  open(base: string): Below & Disposable {
    const folders: number[] = [];
    let furniture: number | undefined;
    const close = () => {
      for (const fd of folders) closeSync(fd);
    };
    try {
      for (const dir of this.#folders) {
        const stat = statIfThere(dir, base);
        if (stat === undefined) continue;
        if (!isFolderStat(stat)) break;
        const fd = openat(dir, base, FOLDER);
        folders.push(fd);
        if (dir === this.#furniture) furniture = fd;
        if (this.#marks && isOpaque(fd)) break;
      }
    } catch (error) {
      close();
      throw error;
    }
    return Object.assign(new Below(folders, this.#marks, furniture), { [Symbol.dispose]: close });
  }
}

export function isOpaque(dir: number): boolean {
  return getXattr(dir, OPAQUE_XATTR)?.toString() === "y";
}

/** overlayfs's mark for a name that is hidden. */
export function isWhiteout(stat: FileStat): boolean {
  return (stat.mode & constants.S_IFMT) === constants.S_IFCHR && stat.rdev.major === 0 && stat.rdev.minor === 0;
}

export function isFolderStat(stat: FileStat): boolean {
  return (stat.mode & constants.S_IFMT) === constants.S_IFDIR;
}

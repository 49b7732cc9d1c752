import { closeSync, constants } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { O_PATH } from "./at.ts";
import { mkdirInRoot, openInRoot } from "./path.ts";

const MOST_FOLDERS = 256;
const FOLDER = O_PATH | constants.O_DIRECTORY;

/**
 * The folders below a root that names were lately put into, open: a tree that is written in order is then walked once.
 * They are looked up by the kernel, inside the root, and made if they are missing. At most 256 are open.
 */
export class OpenFolders implements Disposable {
  readonly #root: number;
  readonly #opened: (fd: number, path: string) => void;
  readonly #open = new Map<string, number>();

  /** `root` stays the caller's. `opened` sees each folder when it is opened, and may throw. */
  constructor(root: number, opened: (fd: number, path: string) => void = () => {}) {
    this.#root = root;
    this.#opened = opened;
  }

  /** Good until the next call; not to be closed. */
  at(path: string): number {
    const known = this.#open.get(path);
    if (known !== undefined) return known;
    let fd: number;
    try {
      fd = openInRoot(this.#root, path, FOLDER);
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
      fd = mkdirInRoot(this.#root, path, 0o755);
    }
    return this.#keep(path, fd);
  }

  /** The same of a folder that is there; undefined if there is none. */
  find(path: string): number | undefined {
    try {
      return this.#open.get(path) ?? this.#keep(path, openInRoot(this.#root, path, FOLDER));
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
      throw error;
    }
  }

  /** To be called when a name may lead elsewhere now. `kept` stays open: it is still the folder that it was. */
  forget(kept?: number): void {
    for (const [path, fd] of this.#open) {
      if (fd === kept) continue;
      closeSync(fd);
      this.#open.delete(path);
    }
  }

  #keep(path: string, fd: number): number {
    if (this.#open.size >= MOST_FOLDERS) this.forget();
    this.#open.set(path, fd);
    this.#opened(fd, path);
    return fd;
  }

  [Symbol.dispose](): void {
    this.forget();
  }
}

import { closeSync, constants, existsSync, mkdirSync, openSync, renameSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFolder } from "../base/atomic-file.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { detachMount, isMountPoint } from "../kernel/mount.ts";
import { exchangeat, syncfs } from "../kernel/path.ts";
import { diskPath, mountDisk } from "./disk.ts";
import { removeIn } from "./removal.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * The content of a volume that is made aside, laid out as a volume's folder: nobody sees it until it is put into its
 * place, at one instant. What isn't goes with its disposal, or at the next boot.
 */
export class VolumeDraft implements AsyncDisposable {
  /** Laid out as a volume's folder. */
  readonly folder: string;
  readonly #size: number | undefined;
  #fd: number | undefined;

  private constructor(folder: string, size: number | undefined) {
    this.folder = folder;
    this.#size = size;
  }

  /** At a path that a boot clears away; with a size on a disk of its own. */
  static async begin(folder: string, size: number | undefined): Promise<VolumeDraft> {
    const draft = new VolumeDraft(folder, size);
    try {
      mkdirSync(folder, { mode: 0o701 });
      mkdirSync(draft.content, { mode: 0o755 });
      if (size !== undefined) await mountDisk(folder, draft.content, size);
      draft.#fd = openSync(draft.content, FOLDER);
      return draft;
    } catch (error) {
      await draft[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Where the content goes. */
  get content(): string {
    return join(this.folder, "_data");
  }

  /** The same, open. */
  get fd(): number {
    if (this.#fd === undefined) throw new Error("the draft is closed");
    return this.#fd;
  }

  /** Has all of it on the disk; nothing more can be put into it. */
  async seal(): Promise<void> {
    try {
      await syncfs(this.fd);
      await this.#close();
      if (this.#size === undefined) return;
      await using disk = await open(diskPath(this.folder), "r");
      await disk.sync();
    } catch (error) {
      // What a disk in a file says when the machine's disk has no room for what was written to it.
      if (this.#size === undefined || !hasCode(error, "EIO")) throw error;
      throw new GantryError(
        "internal",
        "cannot write the disk of limited size: there may be no space left on the machine's own",
        { cause: error },
      );
    }
  }

  /** Puts the content into the place of that of the volume in `folder`, which nobody uses; the old one goes. */
  replace(folder: string): void {
    failpoint("volumes.draft.sealed");
    if (this.#size !== undefined) renameSync(diskPath(this.folder), diskPath(folder));
    else {
      const [draft, place] = [openSync(this.folder, FOLDER), openSync(folder, FOLDER)];
      try {
        exchangeat(draft, "_data", place, "_data");
      } finally {
        closeSync(draft);
        closeSync(place);
      }
    }
    syncFolder(folder);
    failpoint("volumes.draft.replaced");
  }

  async #close(): Promise<void> {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    if (this.#size !== undefined && isMountPoint(this.content)) await detachMount(this.content);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    if (existsSync(this.folder)) await removeIn(dirname(this.folder), basename(this.folder));
  }
}

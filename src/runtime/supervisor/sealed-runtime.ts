import { closeSync, statSync } from "node:fs";
import { basename } from "node:path";
import { sealedCopy } from "../../kernel/sealed-file.ts";

/** Runtimes that look whether they run from a sealed copy, and make one and start anew if they don't. */
const SEALING = new Set(["crun", "runc"]);

interface Copy {
  readonly fd: number;
  /** What the file on the disk was when it was copied. */
  readonly version: string;
}

/**
 * So that a container cannot overwrite the runtime through /proc/self/exe (CVE-2019-5736), crun and runc run from a
 * sealed copy of themselves, which each start makes anew and executes: a good half of what a start of crun takes.
 * Here the copy is made once, of the same kind, and executed at once.
 */
export class SealedRuntimes {
  readonly #copies = new Map<string, Copy>();

  /** The path to execute for a runtime's executable: its sealed copy, or itself where that would gain nothing. */
  pathOf(executable: string): string {
    if (!SEALING.has(basename(executable))) return executable;
    let version: string;
    try {
      const { ino, size, mtimeMs } = statSync(executable);
      version = `${ino} ${size} ${mtimeMs}`;
      const known = this.#copies.get(executable);
      if (known?.version === version) return `/proc/self/fd/${known.fd}`;
      const fd = sealedCopy(executable, basename(executable));
      if (known !== undefined) closeSync(known.fd);
      this.#copies.set(executable, { fd, version });
      return `/proc/self/fd/${fd}`;
    } catch {
      // No copy, no gain: whoever starts the executable itself gets to hear what is wrong with it.
      return executable;
    }
  }
}

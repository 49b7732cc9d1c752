import {
  createWriteStream,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { chmod, lutimes, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { nameToBytes } from "../../base/byte-string.ts";
import { GantryError } from "../../base/errors.ts";
import { GO_MODE, hasGoMode, permissionsOfGoMode } from "../../base/go-mode.ts";
import type { SyncTarget } from "../../buildkit/file-sync.ts";
import type { Stat } from "../../buildkit/packet.ts";

/** Where a result of a build goes on this machine. */
export type Result =
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "stdout" }
  | { readonly type: "folder"; readonly path: string };

const SPECIAL = GO_MODE.device + GO_MODE.namedPipe + GO_MODE.socket;

/**
 * Files of a result into a folder, which is made. What is there stays, unless a file of the same name takes its place:
 * a link that lies in the way is replaced, never followed. Devices and pipes are left out; who may not own a file owns it.
 */
export class FolderTarget implements SyncTarget {
  readonly #root: string;
  /** Times of folders, which change with what is put in them. */
  readonly #folders: { readonly path: string; readonly seconds: number; readonly mode: number }[] = [];
  readonly #links: { readonly path: string; readonly target: string }[] = [];

  constructor(root: string) {
    this.#root = root;
    mkdirSync(root, { recursive: true });
  }

  file(stat: Stat): boolean {
    const path = join(this.#root, stat.path);
    if (hasGoMode(stat.mode, GO_MODE.dir)) {
      this.#folder(path, stat);
      return false;
    }
    if (hasGoMode(stat.mode, SPECIAL)) return false;
    rmSync(path, { recursive: true, force: true });
    if (hasGoMode(stat.mode, GO_MODE.symlink)) {
      symlinkSync(nameToBytes(stat.linkname), path);
      void lutimes(path, secondsOf(stat), secondsOf(stat)).catch(() => {});
      return false;
    }
    if (stat.linkname === "") return true;
    this.#links.push({ path, target: join(this.#root, stat.linkname) });
    return false;
  }

  async contents(stat: Stat, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const path = join(this.#root, stat.path);
    // "wx": nothing is written through what somebody put there meanwhile.
    await pipeline(bytes, createWriteStream(path, { flags: "wx", mode: 0o600 }));
    await chmod(path, permissionsOfGoMode(stat.mode));
    await utimes(path, secondsOf(stat), secondsOf(stat));
  }

  async end(): Promise<void> {
    for (const { path, target } of this.#links) linkSync(target, path);
    for (const { path, seconds, mode } of this.#folders.reverse()) {
      await chmod(path, mode);
      utimesSync(path, seconds, seconds);
    }
  }

  #folder(path: string, stat: Stat): void {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined && !found.isDirectory()) rmSync(path);
    if (found === undefined || !found.isDirectory()) mkdirSync(path);
    this.#folders.push({ path, seconds: secondsOf(stat), mode: permissionsOfGoMode(stat.mode) });
  }
}

const ASIDE = ".gantry-build";

/** True for the name of a file that is not yet whole. */
export function isAside(path: string): boolean {
  return path.endsWith(ASIDE);
}

/** A file that is there whole or not at all. */
export async function writeResult(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const folder = lstatSync(path, { throwIfNoEntry: false });
  if (folder?.isDirectory()) throw new GantryError("invalid", `destination file ${path} is a directory`);
  mkdirSync(dirname(path), { recursive: true });
  if (folder !== undefined && !folder.isFile()) {
    // A pipe or a device is written to as it is.
    await pipeline(bytes, createWriteStream(path));
    return;
  }
  const aside = join(dirname(path), `.${process.pid}.${Date.now()}${ASIDE}`);
  try {
    await pipeline(bytes, createWriteStream(aside, { flags: "wx" }));
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

const secondsOf = ({ modTime }: Stat): number => Number(modTime) / 1e9;

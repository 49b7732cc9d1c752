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
import type { SyncTarget } from "../../buildkit/file-sync.ts";
import type { Stat } from "../../buildkit/packet.ts";

/** Where a result of a build goes on this machine. */
export type Result =
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "stdout" }
  | { readonly type: "folder"; readonly path: string };

const FOLDER = 0x8000_0000;
const LINK = 0x0800_0000;
const SPECIAL = 0x0700_0000;

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
    if ((stat.mode & FOLDER) !== 0) {
      this.#folder(path, stat);
      return false;
    }
    if ((stat.mode & SPECIAL) !== 0) return false;
    rmSync(path, { recursive: true, force: true });
    if ((stat.mode & LINK) !== 0) {
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
    await chmod(path, permissionsOf(stat));
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
    this.#folders.push({ path, seconds: secondsOf(stat), mode: permissionsOf(stat) });
  }
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
  const aside = join(dirname(path), `.${process.pid}.${Date.now()}.gantry-build`);
  try {
    await pipeline(bytes, createWriteStream(aside, { flags: "wx" }));
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

const secondsOf = ({ modTime }: Stat): number => Number(modTime) / 1e9;

function permissionsOf({ mode }: Stat): number {
  return (
    (mode & 0o777) |
    (mode & 0x0080_0000 ? 0o4000 : 0) |
    (mode & 0x0040_0000 ? 0o2000 : 0) |
    (mode & 0x0010_0000 ? 0o1000 : 0)
  );
}

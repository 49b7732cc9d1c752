import { closeSync, constants, read as fsRead, write as fsWrite, ftruncateSync, readSync, writeSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";
import { throwIfAborted } from "../base/abort.ts";
import { Breath } from "../base/breath.ts";
import { bytesToName } from "../base/byte-string.ts";
import { GantryError, hasCode, messageOf, unlessCode } from "../base/errors.ts";
import { cloneFile, cloneFileAside } from "../kernel/clone-file.ts";
import { dataRanges } from "../kernel/holes.ts";
import {
  type FileStat,
  fchmod,
  fchmodat,
  fchownat,
  fstatat,
  linkat,
  mkdirat,
  mknodat,
  O_PATH,
  openat,
  openFileAt,
  openInRoot,
  readlinkat,
  symlinkat,
  utimensat,
} from "../kernel/path.ts";
import { getXattr, listXattrs, setXattr } from "../kernel/xattr.ts";

export interface CopyTreeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told now and then how far it got. */
  readonly onProgress?: ((done: CopiedTree) => void) | undefined;
}

/** What was copied so far. */
export interface CopiedTree {
  /** Bytes of the files, each counted once. */
  readonly bytes: number;
  readonly files: number;
  /** The copy shares its blocks with what it is a copy of: it takes no room until one of them changes. */
  readonly shared: boolean;
}

/** A level has two descriptors while it is copied: one who nests folders without end isn't followed for ever. */
const DEEPEST = 1000;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** Up to this a file is copied at once. */
const SMALL = 128 << 10;
const PIECE = 4 << 20;
const MOST_RANGES = 10_000;
const PROGRESS_MS = 200;

const readAsync = promisify(fsRead);
const writeAsync = promisify(fsWrite);

interface Level {
  readonly from: number;
  readonly to: number;
  /** Of the copy, from its root: "" or ending in "/". */
  readonly path: string;
  readonly stat: FileStat;
  readonly names: string[];
}

/**
 * Copies what is in one open folder into another, empty one, with its own owner, mode, times and attributes: owners,
 * modes, access control lists and all other extended attributes, times, hard links, devices, sockets, holes. Blocks are
 * shared where the file system can do that. No link is followed and no device opened, whatever somebody who may write
 * to the tree puts in their places meanwhile; what goes away meanwhile is left out, and so is what is mounted within.
 * Both folders stay the caller's.
 */
export async function copyTree(from: number, to: number, options: CopyTreeOptions = {}): Promise<CopiedTree> {
  const copy = new TreeCopy(to, options);
  try {
    return await copy.run(from);
  } catch (error) {
    if (hasCode(error, "ENOSPC", "EDQUOT")) {
      throw new GantryError("internal", "no space left on device", { cause: error });
    }
    throw error;
  }
}

class TreeCopy {
  readonly #root: number;
  readonly #options: CopyTreeOptions;
  readonly #breath = new Breath();
  /** Where the copy of a file with several names lies, by its inode. */
  readonly #links = new Map<string, string>();
  readonly #levels: Level[] = [];
  #bytes = 0;
  #files = 0;
  /** Undefined until the first file with content was tried. */
  #clones: boolean | undefined;
  #told = performance.now();
  #memory: Buffer | undefined;

  constructor(root: number, options: CopyTreeOptions) {
    this.#root = root;
    this.#options = options;
  }

  async run(from: number): Promise<CopiedTree> {
    const top = fstatat(from, "");
    try {
      this.#levels.push(await this.#level(openat(from, ".", FOLDER), openat(this.#root, ".", FOLDER), "", top));
      for (let level = this.#levels.at(-1); level !== undefined; level = this.#levels.at(-1)) {
        await this.#rest();
        const name = level.names.pop();
        if (name === undefined) this.#leave(level);
        else await this.#take(level, name);
      }
    } finally {
      for (const level of this.#levels.splice(0)) close(level);
    }
    return this.#done();
  }

  #done(): CopiedTree {
    return { bytes: this.#bytes, files: this.#files, shared: this.#clones === true };
  }

  async #rest(): Promise<void> {
    throwIfAborted(this.#options.signal);
    if (!(await this.#breath.take())) return;
    const now = performance.now();
    if (now - this.#told < PROGRESS_MS) return;
    this.#told = now;
    this.#options.onProgress?.(this.#done());
  }

  /** Takes both descriptors over. */
  async #level(from: number, to: number, path: string, stat: FileStat): Promise<Level> {
    try {
      const names = await readdir(`/proc/self/fd/${from}`, { encoding: "buffer" });
      return { from, to, path, stat, names: names.map((each) => bytesToName(each)).reverse() };
    } catch (error) {
      closeSync(from);
      closeSync(to);
      throw error;
    }
  }

  /** A folder gets its own times last, since filling it changes them; what it hands down must not come before. */
  #leave(level: Level): void {
    dress(level.from, level.to, level.stat);
    this.#levels.pop();
    close(level);
  }

  async #take(level: Level, name: string): Promise<void> {
    const stat = ifThere(() => fstatat(level.from, name));
    if (stat === undefined || stat.isMountRoot) return;
    const type = stat.mode & constants.S_IFMT;
    if (type === constants.S_IFDIR) return this.#folder(level, name, stat);
    this.#files++;
    const inode = stat.nlink > 1 ? `${stat.dev}/${stat.ino}` : undefined;
    const first = inode === undefined ? undefined : this.#links.get(inode);
    if (first !== undefined) {
      this.#link(level, name, first);
      return;
    }
    if (type === constants.S_IFREG) {
      if (!(await this.#file(level, name))) return;
    } else if (type === constants.S_IFLNK) {
      const target = ifThere(() => bytesToName(readlinkat(level.from, name)));
      if (target === undefined) return;
      symlinkat(target, level.to, name);
      this.#dressNamed(level, name, stat);
    } else {
      mknodat(level.to, name, type | 0o600, stat.rdev.major, stat.rdev.minor);
      this.#dressNamed(level, name, stat);
      // Nobody else has the new tree: the name is what was made here.
      fchmodat(level.to, name, stat.mode & 0o7777);
      utimensat(level.to, name, stat.atime, stat.mtime);
    }
    if (inode !== undefined) this.#links.set(inode, `${level.path}${name}`);
  }

  async #folder(level: Level, name: string, stat: FileStat): Promise<void> {
    if (this.#levels.length === DEEPEST) {
      throw new GantryError("invalid", `cannot copy: its folders are nested deeper than ${DEEPEST}`);
    }
    const from = ifThere(() => openat(level.from, name, FOLDER));
    if (from === undefined) return;
    let to: number;
    try {
      mkdirat(level.to, name, 0o700);
      to = openat(level.to, name, FOLDER);
    } catch (error) {
      closeSync(from);
      throw error;
    }
    this.#levels.push(await this.#level(from, to, `${level.path}${name}/`, stat));
  }

  #link(level: Level, name: string, first: string): void {
    const slash = first.lastIndexOf("/");
    const dir = openInRoot(this.#root, first.slice(0, Math.max(slash, 0)), O_PATH | constants.O_DIRECTORY);
    try {
      linkat(dir, first.slice(slash + 1), level.to, name);
    } finally {
      closeSync(dir);
    }
  }

  /** False if it is gone, or has become something else. */
  async #file(level: Level, name: string): Promise<boolean> {
    const from = ifThere(() => openFileAt(level.from, name));
    if (from === undefined) return false;
    try {
      const to = openat(level.to, name, NEW_FILE, 0o600);
      try {
        // Before it is read, which changes the time of its last access.
        const stat = fstatat(from, "");
        const { size } = stat;
        if (size > 0 && !(await this.#clone(from, to, size)))
          await this.#content(from, to, size, `${level.path}${name}`);
        this.#bytes += size;
        dress(from, to, stat);
      } finally {
        closeSync(to);
      }
    } finally {
      closeSync(from);
    }
    return true;
  }

  async #clone(from: number, to: number, size: number): Promise<boolean> {
    if (this.#clones === false) return false;
    this.#clones = size > SMALL ? await cloneFileAside(from, to) : cloneFile(from, to);
    return this.#clones;
  }

  async #content(from: number, to: number, size: number, path: string): Promise<void> {
    if (size <= SMALL && copyAtOnce(from, to, size)) return;
    const ranges = dataRanges(from, size, MOST_RANGES) ?? [{ offset: 0, length: size }];
    this.#memory ??= Buffer.allocUnsafeSlow(PIECE);
    const memory = this.#memory;
    try {
      for (const { offset, length } of ranges) {
        for (let at = offset, end = offset + length; at < end; ) {
          const { bytesRead } = await readAsync(from, memory, 0, Math.min(PIECE, end - at), at);
          // It became shorter meanwhile.
          if (bytesRead === 0) break;
          for (let done = 0; done < bytesRead; ) {
            done += (await writeAsync(to, memory, done, bytesRead - done, at + done)).bytesWritten;
          }
          at += bytesRead;
          await this.#rest();
        }
      }
    } catch (error) {
      if (error instanceof GantryError || hasCode(error, "ENOSPC", "EDQUOT")) throw error;
      throw new GantryError("internal", `cannot copy ${path}: ${messageOf(error)}`, { cause: error });
    }
    ftruncateSync(to, size);
  }

  /** What can't be opened; none of these calls follows a link. */
  #dressNamed(level: Level, name: string, stat: FileStat): void {
    fchownat(level.to, name, stat.uid, stat.gid);
    copyAttributes(`/proc/self/fd/${level.from}/${name}`, `/proc/self/fd/${level.to}/${name}`);
    utimensat(level.to, name, stat.atime, stat.mtime);
  }
}

/** What is small is done before a thread of the pool would have begun. False if it isn't what it was any more. */
function copyAtOnce(from: number, to: number, size: number): boolean {
  const bytes = Buffer.allocUnsafe(size);
  if (readSync(from, bytes, 0, size, 0) !== size) return false;
  for (let done = 0; done < size; ) done += writeSync(to, bytes, done, size - done, done);
  return true;
}

/** Owner before attributes before mode: a change of owner takes capabilities away, and a list has a say in the mode. */
function dress(from: number, to: number, stat: FileStat): void {
  fchownat(to, "", stat.uid, stat.gid);
  copyAttributes(from, to);
  fchmod(to, stat.mode & 0o7777);
  utimensat(to, "", stat.atime, stat.mtime);
}

function copyAttributes(from: string | number, to: string | number): void {
  for (const name of ifThere(() => listXattrs(from)) ?? []) {
    if (name === "security.selinux") continue;
    const value = ifThere(() => getXattr(from, name));
    if (value === undefined) continue;
    try {
      setXattr(to, name, value);
    } catch (error) {
      // A file system without them, one that keeps some for itself, or a kind of file that can't have it.
      if (!hasCode(error, "EOPNOTSUPP", "EPERM")) throw error;
    }
  }
}

function close({ from, to }: Level): void {
  closeSync(from);
  closeSync(to);
}

/** undefined if what was to be read is gone, or has become something else. */
function ifThere<T>(act: () => T): T | undefined {
  return unlessCode(["ENOENT", "ELOOP", "EINVAL", "ENXIO", "ENOTDIR"], act);
}

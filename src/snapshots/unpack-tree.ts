import { createHash, type Hash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  writev as fsWritev,
  ftruncateSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { unlink } from "node:fs/promises";
import { posix } from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { cancelOnAbort, throwIfAborted } from "../base/abort.ts";
import { Breath } from "../base/breath.ts";
import { nameToBytes } from "../base/byte-string.ts";
import { sentenceOf } from "../base/errno-words.ts";
import { GantryError, hasCode, SyscallError } from "../base/errors.ts";
import { OpenFolders } from "../kernel/open-folders.ts";
import {
  type FileStat,
  type FileTime,
  fchmod,
  fchownat,
  fstatat,
  linkat,
  mkdirat,
  mknodat,
  O_PATH,
  openat,
  openInRoot,
  statIfThere,
  symlinkat,
  utimensat,
} from "../kernel/path.ts";
import { setXattr } from "../kernel/xattr.ts";
import type { TarEntry } from "../oci/tar/entry.ts";
import { NODE_TYPE } from "../oci/tar/file-type.ts";
import { TarParser } from "../oci/tar/parser.ts";
import { removeTree } from "./remove-tree.ts";

export interface ExtractOptions {
  /** The folder that the archive is put into: absolute, its links followed. */
  readonly destination: string;
  /** Where something is mounted: what lies there, or above such a place, is never replaced. */
  readonly mountPoints: readonly string[];
  /** The owner of all that is made; undefined keeps those that the archive tells. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** Refuse to put a folder in the place of something else, and the reverse. */
  readonly keepKinds: boolean;
  /** An entry for the folder itself gives it its owner, mode and time; otherwise it stays as it is. */
  readonly dressRoot?: boolean;
  /** Asks for the digest (sha256) of each file, by its inode; undefined of one with holes. */
  readonly onFile?: (inode: number, digest: Buffer | undefined) => void;
  readonly signal: AbortSignal;
}

const SLICE = 1 << 16;
/** So much of a file is gathered before a thread of the pool writes it; what is smaller is written at once. */
const BATCH = 1 << 20;
const SMALL = 128 << 10;
const LARGEST_ID = 0xffff_fffe;
const MOST_SHOWN = 300;
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const FOLDER = O_PATH | constants.O_DIRECTORY;

type Event = { readonly entry: TarEntry } | { readonly data: Buffer; readonly offset: number } | "end";

const writevAsync = promisify(fsWritev);

/**
 * Puts an uncompressed archive into a folder of a container, as it is: names that mean deletions in layers are names
 * here. Every lookup is the kernel's, in the container's root; the last part of a name is never followed. What is there
 * already is replaced, but folders are merged. An archive that is broken leaves what came before the break, as tar does.
 */
export async function extractArchive(root: number, archive: Readable, options: ExtractOptions): Promise<void> {
  const { signal } = options;
  const events: Event[] = [];
  const parser = new TarParser({
    entry: (entry) => events.push({ entry }),
    data: (data, offset) => events.push({ data, offset }),
    end: () => events.push("end"),
  });
  const writer = new ArchiveWriter(root, options);
  const breath = new Breath();
  using _ = cancelOnAbort(signal, archive);
  const take = async (): Promise<void> => {
    for (const event of events) {
      const pending = writer.take(event);
      if (pending !== undefined) await pending;
    }
    events.length = 0;
    await breath.take();
    throwIfAborted(signal);
  };
  try {
    throwIfAborted(signal);
    // A request's body is its connection: after a refusal there is still an answer to be sent on it.
    for await (const chunk of archive.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      // In slices, so that a large chunk of small members does not become as many events at once.
      for (let at = 0; at < chunk.length; at += SLICE) {
        parser.push(chunk.subarray(at, at + SLICE));
        await take();
      }
    }
    parser.finish();
    await take();
    await writer.finish();
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  } finally {
    await writer.close();
  }
}

interface OpenFile {
  readonly fd: number;
  readonly entry: TarEntry;
  readonly digester: Hash | undefined;
  batch: Buffer[];
  batched: number;
  /** Where in the file the batch begins. */
  offset: number;
}

class ArchiveWriter {
  readonly #root: number;
  readonly #options: ExtractOptions;
  readonly #folders: OpenFolders;
  readonly #times: { readonly path: string; readonly mtime: FileTime }[] = [];
  #file: OpenFile | undefined;
  /** The write under way. */
  #writing: Promise<void> | undefined;

  constructor(root: number, options: ExtractOptions) {
    this.#root = root;
    this.#folders = new OpenFolders(root);
    this.#options = options;
  }

  /** A promise only where there is something to wait for. */
  take(event: Event): Promise<void> | undefined {
    if (event === "end") return this.#end();
    if ("entry" in event) return this.#entry(event.entry);
    return this.#data(event.data, event.offset);
  }

  /** Folders get their times last, since filling them changes those. */
  async finish(): Promise<void> {
    for (const { path, mtime } of this.#times.reverse()) {
      try {
        const { dir, base } = this.#at(path);
        if (isFolder(statIfThere(dir, base))) utimensat(dir, base, mtime, mtime);
      } catch (error) {
        // The container has moved it meanwhile.
        if (!hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) throw refusal(path, error);
      }
    }
  }

  async close(): Promise<void> {
    await this.#writing?.catch(() => {});
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
    this.#folders.forget();
  }

  async #entry(entry: TarEntry): Promise<void> {
    try {
      await this.#make(entry);
    } catch (error) {
      throw refusal(entry.name, error);
    }
  }

  async #make(entry: TarEntry): Promise<void> {
    const path = this.#pathOf(entry.name, entry);
    for (const id of [entry.uid, entry.gid])
      if (id < 0 || id > LARGEST_ID) throw badEntry(entry.name, `no owner has the number ${id}`);
    if (path === this.#options.destination) {
      if (entry.type === "directory") return this.#dressRoot(entry, path);
      throw badEntry(entry.name, "it has no name of its own");
    }
    const { dir, base } = this.#at(path);
    const was = statIfThere(dir, base);
    if (was !== undefined) {
      const [is, will] = [isFolder(was), entry.type === "directory"];
      if (this.#options.keepKinds && is !== will) {
        const [old, young] = is ? ["directory", "non-directory"] : ["non-directory", "directory"];
        throw new GantryError(
          "invalid",
          `cannot overwrite ${old} ${JSON.stringify(path)} with ${young} ${JSON.stringify(this.#options.destination)}`,
        );
      }
      if (is && will) {
        this.#dressFolder(dir, base, entry);
        this.#times.push({ path, mtime: entry.mtime });
        return;
      }
      if (entry.type === "hardlink" && this.#linkTarget(entry) === path) return;
      await this.#remove(dir, base, path, was);
    }
    if (entry.type === "file") {
      if (entry.sparse !== undefined) requireRoom(dir, entry);
      const fd = openat(dir, base, NEW_FILE, 0o600);
      const isAsked = this.#options.onFile !== undefined && entry.sparse === undefined;
      const digester = isAsked ? createHash("sha256") : undefined;
      this.#file = { fd, entry, digester, batch: [], batched: 0, offset: 0 };
    } else if (entry.type === "hardlink") this.#link(entry, path);
    else {
      if (entry.type === "directory") {
        mkdirat(dir, base, 0o700);
        this.#dressFolder(dir, base, entry);
        this.#times.push({ path, mtime: entry.mtime });
      } else if (entry.type === "symlink") {
        symlinkat(entry.linkName, dir, base);
        this.#dressNamed(dir, base, entry);
      } else {
        const type = NODE_TYPE[entry.type]!;
        mknodat(dir, base, type | 0o600, entry.major, entry.minor);
        this.#dressDevice(dir, base, type, entry);
      }
    }
  }

  /** The path in the container that a name of the archive means; `invalid` if it leads out of the destination. */
  #pathOf(name: string, entry: TarEntry): string {
    if (name.includes("\0")) throw badEntry(entry.name, "a name contains NUL");
    const clean = posix.normalize(name);
    if (clean === ".." || clean.startsWith("../")) {
      const why = `${shown(name)} is outside of ${JSON.stringify(this.#options.destination)}`;
      throw new GantryError("invalid", why);
    }
    return posix.join(this.#options.destination, clean).replace(/(.)\/$/, "$1");
  }

  #linkTarget(entry: TarEntry): string {
    return this.#pathOf(entry.linkName, entry);
  }

  #link(entry: TarEntry, path: string): void {
    const target = this.#linkTarget(entry);
    const slash = target.lastIndexOf("/");
    if (target.slice(slash + 1) === "") throw badEntry(entry.name, "a hard link to the root");
    // Its own descriptor: the cache may close the other to make room.
    const from = openInRoot(this.#root, target.slice(0, slash), FOLDER);
    try {
      const { dir, base } = this.#at(path);
      linkat(from, target.slice(slash + 1), dir, base);
    } finally {
      closeSync(from);
    }
  }

  async #remove(dir: number, base: string, path: string, was: FileStat): Promise<void> {
    // The kernel would refuse it only to those in whose mount tree they are, and tear down the container's own.
    if (was.isMountRoot || this.#options.mountPoints.some((point) => point === path || point.startsWith(`${path}/`)))
      throw new GantryError("conflict", `cannot replace ${path}: something is mounted there (device or resource busy)`);
    // A large file's removal takes the kernel long: it is left to a thread of the pool. No link is followed.
    if (isFolder(was)) await removeTree(dir, base);
    else await unlink(Buffer.concat([Buffer.from(`/proc/self/fd/${dir}/`), nameToBytes(base)]));
    // Names below may have led through what is gone. The folder itself is still the one that `dir` is open on.
    this.#folders.forget(dir);
  }

  #data(data: Buffer, at: number): Promise<void> | undefined {
    const file = this.#file;
    if (file === undefined) return undefined;
    file.digester?.update(data);
    const flushed = file.batched > 0 && at !== file.offset + file.batched ? this.#flush(file) : undefined;
    if (file.batched === 0) file.offset = at;
    file.batch.push(data);
    file.batched += data.length;
    if (file.batched < BATCH) return flushed;
    const next = this.#flush(file);
    return flushed === undefined ? next : flushed.then(() => next);
  }

  /** Begins to write what was gathered; resolves when the write before it is done, so that two are never at once. */
  #flush(file: OpenFile): Promise<void> {
    const { batch, batched, offset } = file;
    file.batch = [];
    file.batched = 0;
    const before = this.#writing ?? Promise.resolve();
    const writing = before.then(() => writeAll(file.fd, batch, batched, offset));
    // It is waited for by the next one or by the end.
    writing.catch(() => {});
    this.#writing = writing;
    return before.catch((error: unknown) => {
      throw refusal(file.entry.name, error);
    });
  }

  #end(): Promise<void> | undefined {
    const file = this.#file;
    if (file === undefined) return undefined;
    if (this.#writing === undefined && file.batched <= SMALL) {
      try {
        let at = file.offset;
        for (const piece of file.batch) {
          for (let done = 0; done < piece.length; ) {
            done += writeSync(file.fd, piece, done, piece.length - done, at + done);
          }
          at += piece.length;
        }
        this.#finishFile(file);
      } catch (error) {
        throw refusal(file.entry.name, error);
      }
      return undefined;
    }
    return this.#endLater(file);
  }

  async #endLater(file: OpenFile): Promise<void> {
    try {
      if (file.batched > 0) await this.#flush(file);
      await this.#writing;
      this.#writing = undefined;
      this.#finishFile(file);
    } catch (error) {
      throw refusal(file.entry.name, error);
    }
  }

  #finishFile(file: OpenFile): void {
    this.#file = undefined;
    try {
      if (file.entry.sparse !== undefined) ftruncateSync(file.fd, file.entry.size);
      this.#dress(file.fd, file.entry);
      utimensat(file.fd, "", file.entry.mtime, file.entry.mtime);
      this.#options.onFile?.(fstatSync(file.fd).ino, file.digester?.digest());
    } finally {
      closeSync(file.fd);
    }
  }

  /** Owner, attributes and mode, in the order in which none undoes another. */
  #dress(fd: number, entry: TarEntry): void {
    const { uid, gid } = this.#options.owner ?? entry;
    fchownat(fd, "", uid, gid);
    for (const [key, value] of entry.xattrs) setAttribute(fd, key, value);
    fchmod(fd, entry.mode);
  }

  /** By its descriptor: a running container may put a link in its place, which nothing here must follow. */
  #dressFolder(dir: number, base: string, entry: TarEntry): void {
    const fd = openat(dir, base, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      this.#dress(fd, entry);
    } finally {
      closeSync(fd);
    }
  }

  #dressRoot(entry: TarEntry, path: string): void {
    if (this.#options.dressRoot !== true) return;
    const { dir } = this.#at(`${path.replace(/\/$/, "")}/.`);
    this.#dressFolder(dir, ".", entry);
    this.#times.push({ path: `${path.replace(/\/$/, "")}/.`, mtime: entry.mtime });
  }

  /** What can't be opened, without its mode: none of these calls follows a link. */
  #dressNamed(dir: number, base: string, entry: TarEntry): void {
    const { uid, gid } = this.#options.owner ?? entry;
    fchownat(dir, base, uid, gid);
    for (const [key, value] of entry.xattrs) setAttribute(`/proc/self/fd/${dir}/${base}`, key, value);
    utimensat(dir, base, entry.mtime, entry.mtime);
  }

  #dressDevice(dir: number, base: string, type: number, entry: TarEntry): void {
    this.#dressNamed(dir, base, entry);
    const fd = openat(dir, base, O_PATH | constants.O_NOFOLLOW);
    try {
      // The name leads to the very thing that is open: a mode can't be set by a descriptor of this kind alone.
      if ((fstatat(fd, "").mode & constants.S_IFMT) === type) chmodSync(`/proc/self/fd/${fd}`, entry.mode);
    } finally {
      closeSync(fd);
    }
  }

  /** The open folder that a path is in, made if it is missing, and the path's last name. */
  #at(path: string): { readonly dir: number; readonly base: string } {
    const slash = path.lastIndexOf("/");
    return { dir: this.#folders.at(path.slice(0, slash)), base: path.slice(slash + 1) };
  }
}

/** Holes take no room, but all who read the file: one that is larger than what is free is meant to fill the disk. */
function requireRoom(dir: number, { name, size }: TarEntry): void {
  const { bavail, bsize } = statfsSync(`/proc/self/fd/${dir}`);
  if (size > bavail * bsize) throw new GantryError("internal", `cannot extract ${name}: no space left on device`);
}

async function writeAll(fd: number, batch: Buffer[], size: number, offset: number): Promise<void> {
  let { bytesWritten: done } = await writevAsync(fd, batch, offset);
  // A disk that is nearly full takes a part; asking for the rest brings the error.
  while (done < size)
    done += (await writevAsync(fd, [Buffer.concat(batch).subarray(done)], offset + done)).bytesWritten;
  for (const piece of batch) release(piece);
}

/**
 * Gives back the memory of a chunk that was written whole. The collector would do it, but runs for every few dozen
 * megabytes of them and takes as long as the rest of the work.
 */
function release({ buffer, length }: Buffer): void {
  if (length === buffer.byteLength) (buffer as ArrayBuffer).transfer(0);
}

function setAttribute(target: string | number, key: string, value: Uint8Array): void {
  try {
    setXattr(target, key, value);
  } catch (error) {
    // A file system without them, one that keeps some for itself, or a kind of file that can't have it.
    if (!hasCode(error, "EOPNOTSUPP", "EPERM")) throw error;
  }
}

function isFolder(stat: FileStat | undefined): boolean {
  return stat !== undefined && (stat.mode & constants.S_IFMT) === constants.S_IFDIR;
}

function badEntry(name: string, why: string, cause?: unknown): GantryError {
  return new GantryError("invalid", `invalid tar header: ${shown(name)}: ${why}`, { cause });
}

/** A name may be as long as an extended header. */
function shown(name: string): string {
  return JSON.stringify(name.length > MOST_SHOWN ? `${name.slice(0, MOST_SHOWN)}…` : name);
}

/** What the kernel refuses because of the archive is the archive's fault; a full disk or a broken one is not. */
function refusal(name: string, error: unknown): unknown {
  if (hasCode(error, "EROFS")) return new GantryError("forbidden", `cannot write ${name}: read-only file system`);
  if (hasCode(error, "ENOSPC", "EDQUOT"))
    return new GantryError("internal", `cannot extract ${name}: no space left on device`, { cause: error });
  const isKernels = error instanceof SyscallError || (error instanceof Error && "errno" in error);
  if (!isKernels || hasCode(error, "EIO", "EMFILE", "ENFILE", "ENOMEM")) return error;
  const why = sentenceOf(error);
  return badEntry(name, why.length > MOST_SHOWN * 2 ? why.slice(why.lastIndexOf(": ") + 2) : why, error);
}

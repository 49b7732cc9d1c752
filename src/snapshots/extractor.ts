import { closeSync, constants, fstatSync, ftruncateSync, readlinkSync, writeSync } from "node:fs";
import { sentenceOf } from "../base/errno-words.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { OpenFolders } from "../kernel/open-folders.ts";
import {
  type FileTime,
  fchmod,
  fchmodat,
  fchownat,
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
import { getXattr, setXattr } from "../kernel/xattr.ts";
import type { TarEntry } from "../oci/tar/entry.ts";
import { NODE_TYPE } from "../oci/tar/file-type.ts";
import type { TarSink } from "../oci/tar/parser.ts";
import { badEntry, type LayerName, layerName, meaningOf } from "./layer-name.ts";
import { removeTreeSync } from "./remove-tree.ts";

/** How what a layer deletes is put on disk: marks for overlayfs, or real deletions. */
export interface Whiteouts {
  /** Whether `written` is needed: remembering every path of a layer costs memory. */
  readonly asksWritten: boolean;
  /** Hides `base` of the layers below. `written` tells whether this layer itself has put something at a path before. */
  hide(dir: number, name: LayerName, written: (path: string) => boolean): void;
  /** Hides all that the layers below have in the open folder. */
  hideAll(dir: number, folder: string, written: (path: string) => boolean): void;
  /** A new folder appears in place of something that was hidden or wasn't a folder. */
  replaced(dir: number, base: string): void;
}

const LARGEST_ID = 0xffff_fffe;
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const FOLDER = O_PATH | constants.O_DIRECTORY;
/** Names can't make a path too long below it, wherever the root lies. */
const SHORT_PATH = 1024;
const SETGID = 0o2000;
const PERMISSIONS = 0o777;
const DEFAULT_ACL = "system.posix_acl_default";

/**
 * Puts the members of one layer into a folder. All lookups are the kernel's, from the root's descriptor and inside it;
 * nothing follows a link at the last part of a name. Synchronous: feed it in slices.
 */
export class Extractor implements TarSink {
  /** Bytes of the files so far. */
  size = 0;
  /** The archive has an entry for its root. */
  hasRoot = false;
  readonly #root: number;
  readonly #whiteouts: Whiteouts;
  readonly #folders: OpenFolders;
  readonly #times: { readonly at: LayerName; readonly mtime: FileTime }[] = [];
  /** Paths of what was replaced, with the rows of times that there were then. */
  readonly #goneAt = new Map<string, number>();
  readonly #written = new Set<string>();
  readonly #umask = process.umask();
  #hasLinks: boolean;
  /** What is made here is root's with the mode that it was made with, so that neither need be set again. */
  #givesOwn: boolean;
  readonly #isWritten = (path: string): boolean => this.#written.has(path);
  #file: { readonly fd: number; readonly entry: TarEntry } | undefined;

  /** `root` is open on the folder and stays the caller's. */
  constructor(root: number, whiteouts: Whiteouts) {
    this.#root = root;
    // A path longer than the kernel's (4096 bytes) could be made through links, and walked by nobody afterwards.
    this.#folders = new OpenFolders(root, (fd, path) => {
      if (this.#hasLinks || path.length > SHORT_PATH) readlinkSync(`/proc/self/fd/${fd}`);
    });
    this.#whiteouts = whiteouts;
    // A copy of a parent has the parent's folders and links.
    this.#hasLinks = whiteouts.asksWritten;
    this.#givesOwn = !whiteouts.asksWritten && process.geteuid?.() === 0 && givesOwn(root);
  }

  entry(entry: TarEntry): void {
    try {
      this.#take(entry);
    } catch (error) {
      throw refusal(entry.name, error);
    }
  }

  data(bytes: Buffer, offset: number): void {
    const file = this.#file;
    if (file === undefined) return;
    try {
      for (let done = 0; done < bytes.length; )
        done += writeSync(file.fd, bytes, done, bytes.length - done, offset + done);
    } catch (error) {
      throw refusal(file.entry.name, error);
    }
  }

  end(): void {
    const file = this.#file;
    if (file === undefined) return;
    try {
      if (file.entry.sparse !== undefined) ftruncateSync(file.fd, file.entry.size);
      this.#dress(file.fd, "", file.entry);
    } catch (error) {
      throw refusal(file.entry.name, error);
    } finally {
      this.#file = undefined;
      closeSync(file.fd);
    }
  }

  /** Call when the archive is at its end: folders get their times last, since filling them changes those. */
  finish(): void {
    for (let index = this.#times.length - 1; index >= 0; index--) {
      const { at, mtime } = this.#times[index]!;
      const dir = this.#isGone(pathOf(at), index) ? undefined : this.#folders.find(at.folder);
      if (dir === undefined) continue;
      if (at.base === "") utimensat(dir, ".", mtime, mtime);
      else if (isFolder(dir, at.base)) utimensat(dir, at.base, mtime, mtime);
    }
  }

  /** Whether a folder, or one that it was in, was replaced after it got its row of times. */
  #isGone(path: string, index: number): boolean {
    if (this.#goneAt.size === 0) return false;
    for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) {
      if ((this.#goneAt.get(path.slice(0, end)) ?? 0) > index) return true;
    }
    return false;
  }

  /** Closes what is open. Call in any case. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
    this.#folders.forget();
  }

  #take(entry: TarEntry): void {
    const meaning = meaningOf(entry.name);
    if (meaning.is === "ignored") return;
    if (meaning.is === "opaque") {
      this.#folders.forget();
      this.#whiteouts.hideAll(this.#folders.at(meaning.folder), meaning.folder, this.#isWritten);
      return;
    }
    const { at } = meaning;
    const dir = this.#folders.at(at.folder);
    if (meaning.is === "whiteout") {
      this.#folders.forget();
      this.#whiteouts.hide(this.#folders.at(at.folder), at, this.#isWritten);
      return;
    }
    refuseForbidden(entry);
    if (at.base === "") {
      if (entry.type !== "directory") throw badEntry(entry.name, "the root of a layer is a folder");
      this.#dress(dir, ".", entry);
      this.hasRoot = true;
      this.#times.push({ at, mtime: entry.mtime });
      return;
    }
    if (entry.type === "hardlink") this.#link(entry, dir, at);
    else if (entry.type === "directory") this.#makeFolder(entry, dir, at);
    else this.#make(entry, dir, at);
    this.#note(at);
  }

  #make(entry: TarEntry, dir: number, at: LayerName): void {
    if (entry.type === "file") {
      const mode = this.#givesOwn && entry.uid === 0 && entry.gid === 0 ? entry.mode & PERMISSIONS : 0o600;
      const fd = this.#replacing(dir, at, () => openat(dir, at.base, NEW_FILE, mode));
      this.#file = { fd, entry };
      this.size += entry.size;
      return;
    }
    this.#hasLinks ||= entry.type === "symlink";
    if (entry.type === "symlink") this.#replacing(dir, at, () => symlinkat(entry.linkName, dir, at.base));
    else {
      const type = NODE_TYPE[entry.type]!;
      this.#replacing(dir, at, () => mknodat(dir, at.base, type | 0o600, entry.major, entry.minor));
    }
    this.#dress(dir, at.base, entry);
  }

  #makeFolder(entry: TarEntry, dir: number, at: LayerName): void {
    try {
      mkdirat(dir, at.base, 0o700);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      if (!isFolder(dir, at.base)) {
        this.#remove(dir, at);
        mkdirat(dir, at.base, 0o700);
        this.#whiteouts.replaced(dir, at.base);
      }
    }
    this.#dress(dir, at.base, entry);
    this.#times.push({ at, mtime: entry.mtime });
  }

  #link(entry: TarEntry, dir: number, at: LayerName): void {
    const target = layerName(entry.linkName, entry.name);
    if (target.base === "") throw badEntry(entry.name, "a hard link to the root");
    if (pathOf(target) === pathOf(at)) return;
    // Its own descriptor: what the link replaces may close the cached ones.
    const from = openInRoot(this.#root, target.folder, FOLDER);
    try {
      this.#replacing(dir, at, () => linkat(from, target.base, this.#folders.at(at.folder), at.base));
    } finally {
      closeSync(from);
    }
  }

  /** Runs what makes `at`; if something is there already, that goes first, as the later of two entries counts. */
  #replacing<T>(dir: number, at: LayerName, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      this.#remove(dir, at);
      return make();
    }
  }

  #remove(dir: number, at: LayerName): void {
    removeTreeSync(dir, at.base);
    if (this.#times.length > 0) this.#goneAt.set(pathOf(at), this.#times.length);
    // Names below may have led through what is gone. The folder itself is still the one that `dir` is open on.
    this.#folders.forget(dir);
  }

  /** Owner, attributes, mode and time, in the order in which none undoes another. */
  #dress(dir: number, name: string, entry: TarEntry): void {
    const isRoots = this.#givesOwn && entry.uid === 0 && entry.gid === 0;
    if (!isRoots || name === ".") fchownat(dir, name, entry.uid, entry.gid);
    if (entry.xattrs.size > 0) this.#dressXattrs(name === "" ? dir : `/proc/self/fd/${dir}/${name}`, entry);
    if (name === "") {
      if (!isRoots || (entry.mode & ~(PERMISSIONS & ~this.#umask)) !== 0) fchmod(dir, entry.mode);
    } else if (entry.type !== "symlink") fchmodat(dir, name, entry.mode);
    if (entry.type !== "directory") utimensat(dir, name, entry.mtime, entry.mtime);
    // What is made in a folder may take its group or its access control list from there.
    else if (entry.gid !== 0 || (entry.mode & SETGID) !== 0 || entry.xattrs.has(DEFAULT_ACL)) this.#givesOwn = false;
  }

  #dressXattrs(target: string | number, entry: TarEntry): void {
    for (const [name, value] of entry.xattrs) {
      try {
        setXattr(target, name, value);
      } catch (error) {
        // A file system without them, or an attribute that this kind of file can't have: the layer is good without.
        if (!hasCode(error, "EOPNOTSUPP") && !(hasCode(error, "EPERM") && name.startsWith("user."))) throw error;
      }
    }
  }

  /** With its folders, which this layer needs as well from now on. */
  #note(at: LayerName): void {
    if (!this.#whiteouts.asksWritten) return;
    let path = pathOf(at);
    while (path !== "" && !this.#written.has(path)) {
      this.#written.add(path);
      path = path.slice(0, Math.max(path.lastIndexOf("/"), 0));
    }
  }
}

/** Whether a file that root makes in this folder is root's own, with the mode that was asked for. */
function givesOwn(folder: number): boolean {
  const { gid, mode } = fstatSync(folder);
  return gid === 0 && (mode & SETGID) === 0 && getXattr(folder, DEFAULT_ACL) === undefined;
}

export function pathOf({ folder, base }: LayerName): string {
  return folder === "" ? base : `${folder}/${base}`;
}

export function isFolder(dir: number, name: string): boolean {
  const stat = statIfThere(dir, name);
  return stat !== undefined && (stat.mode & constants.S_IFMT) === constants.S_IFDIR;
}

function refuseForbidden(entry: TarEntry): void {
  for (const id of [entry.uid, entry.gid])
    if (id < 0 || id > LARGEST_ID) throw badEntry(entry.name, `no owner has the number ${id}`);
  if (entry.type === "character" && entry.major === 0 && entry.minor === 0)
    throw badEntry(entry.name, "device 0:0 is overlayfs's own mark");
  for (const name of entry.xattrs.keys())
    if (/^(trusted|user)\.overlay\./.test(name)) throw badEntry(entry.name, `attribute ${name} is overlayfs's own`);
}

/** What the kernel refuses because of the archive is the archive's fault; a full disk or a broken one is not. */
function refusal(name: string, error: unknown): unknown {
  if (hasCode(error, "ENOSPC", "EDQUOT"))
    return new GantryError("internal", `cannot extract ${name}: no space left on device`, { cause: error });
  const own = [
    "ENAMETOOLONG",
    "ELOOP",
    "ENOTDIR",
    "EISDIR",
    "EINVAL",
    "ENOENT",
    "EXDEV",
    "EPERM",
    "EEXIST",
    "EFBIG",
    "EMLINK",
    "ERANGE",
    "E2BIG",
  ];
  return hasCode(error, ...own) ? badEntry(name, sentenceOf(error), error) : error;
}

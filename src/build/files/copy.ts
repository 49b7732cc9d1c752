import { closeSync, constants, writeSync } from "node:fs";
import { posix } from "node:path";
import { bytesToName } from "../../base/byte-string.ts";
import { GantryError, hasCode } from "../../base/errors.ts";
import {
  evaluateInRoot,
  type FileStat,
  fchmod,
  fchmodat,
  fchownat,
  fstatat,
  linkat,
  mkdirat,
  mkdirInRoot,
  mknodat,
  O_PATH,
  openat,
  openInRoot,
  readlinkat,
  statIfThere,
  symlinkat,
  unlinkat,
  utimensat,
} from "../../kernel/path.ts";
import type { FileAction, FilesOperation } from "../graph.ts";
import { type Chosen, choose, isRoot } from "./choose.ts";
import { ContentCopier, openFile } from "./contents.ts";
import { dressNamed, dressOpen, type Look } from "./dress.ts";
import { isFolderStat, kindOf } from "./folder.ts";
import { modeChange } from "./mode.ts";
import { type Ids, resolveOwner } from "./owner.ts";
import { Pace } from "./pace.ts";
import { removeChosen } from "./remove-chosen.ts";
import type { Source } from "./sources.ts";
import { openArchive, unpackArchive } from "./unpack.ts";
import { type Walked, walk } from "./walk.ts";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_FOLDER_MODE = 0o755;

export interface FilesContext {
  readonly signal: AbortSignal;
  /** Told what isn't wrong and yet worth knowing. */
  readonly onWarning: (text: string) => void;
}

type CopyAction = Extract<FileAction, { type: "copy" }>;

/**
 * Does the actions of a COPY, ADD or WORKDIR in order. `root` and the inputs are open folders, whose links lead nowhere
 * outside; nobody else writes to them. What can't be done is `invalid`, in BuildKit's words.
 */
export async function runActions(
  root: number,
  inputs: readonly (number | undefined)[],
  { actions }: FilesOperation,
  context: FilesContext,
): Promise<void> {
  const writer = new FilesWriter(root, context);
  for (const action of actions) {
    if (action.type === "copy") await writer.copy(inputs[action.input], action);
    else if (action.type === "mkfile") writer.makeFile(action);
    else if (action.type === "mkdir") writer.makeFolder(action);
    else if (action.type === "symlink") writer.makeLink(action);
    else await removeChosen(root, action);
  }
}

/** A folder of the target that is being filled. */
interface Level {
  readonly dir: number;
  readonly isNew: boolean;
}

class FilesWriter {
  readonly #root: number;
  readonly #context: FilesContext;
  readonly #pace: Pace;
  readonly #contents: ContentCopier;

  constructor(root: number, context: FilesContext) {
    this.#root = root;
    this.#context = context;
    this.#pace = new Pace(context.signal);
    this.#contents = new ContentCopier(this.#pace);
  }

  makeFolder({ path, mode, owner }: Extract<FileAction, { type: "mkdir" }>): void {
    this.#ensure(path, mode & 0o7777, this.#ids(owner));
  }

  makeFile({ target, data, encoding = "utf8", mode, owner }: Extract<FileAction, { type: "mkfile" }>): void {
    const ids = this.#ids(owner) ?? { uid: 0, gid: 0 };
    const path = evaluateInRoot(this.#root, target);
    this.#ensure(posix.dirname(path), NEW_FOLDER_MODE, undefined);
    const dir = this.#openFolder(posix.dirname(path));
    try {
      const base = posix.basename(path);
      if (base === "" || target.endsWith("/")) throw new GantryError("invalid", `open ${target}: is a directory`);
      this.#clear(dir, base, () => new GantryError("invalid", `open ${target}: is a directory`));
      const fd = openat(dir, base, NEW_FILE, 0o600);
      try {
        const bytes = Buffer.from(data, encoding);
        for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
        fchownat(fd, "", ids.uid, ids.gid);
        fchmod(fd, modeChange(mode)(0o644, false));
      } finally {
        closeSync(fd);
      }
    } finally {
      closeSync(dir);
    }
  }

  makeLink({ path, leads, owner }: Extract<FileAction, { type: "symlink" }>): void {
    const ids = this.#ids(owner);
    const folder = evaluateInRoot(this.#root, posix.dirname(path));
    this.#ensure(folder, NEW_FOLDER_MODE, undefined);
    const dir = this.#openFolder(folder);
    try {
      symlinkat(leads, dir, posix.basename(path));
      if (ids !== undefined) fchownat(dir, posix.basename(path), ids.uid, ids.gid);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      throw new GantryError("invalid", `symlink ${leads} ${path}: file exists`, { cause: error });
    } finally {
      closeSync(dir);
    }
  }

  async copy(input: number | undefined, action: CopyAction): Promise<void> {
    const look: Look = {
      owner: this.#ids(action.owner),
      mode: action.mode === undefined ? undefined : modeChange(action.mode),
    };
    for (const source of action.sources) {
      // All of nothing is still a folder.
      if (input === undefined && isRoot(source)) this.#ensure(action.target, NEW_FOLDER_MODE, look.owner);
      for (const chosen of choose(input, source, action)) {
        if (input !== undefined && (await this.#unpack(input, chosen, action, look))) continue;
        await this.#copyOne(chosen, action, look);
      }
    }
  }

  /** False for what is no archive. */
  async #unpack(input: number, { path }: Chosen, { target, unpack }: CopyAction, look: Look): Promise<boolean> {
    if (unpack === "never") return false;
    const archive = await openArchive(input, path);
    if (archive === undefined) {
      if (unpack === "always") throw new GantryError("invalid", `cannot unpack ${path}: it is no archive`);
      return false;
    }
    try {
      this.#ensure(target, NEW_FOLDER_MODE, look.owner);
      await unpackArchive(archive, this.#root, target, { owner: look.owner, signal: this.#context.signal });
    } finally {
      closeSync(archive);
    }
    return true;
  }

  async #copyOne(chosen: Chosen, action: CopyAction, look: Look): Promise<void> {
    const source = chosen.open();
    try {
      const path = this.#prepareTarget(chosen.path, source.stat, action, look);
      const dir = this.#openFolder(posix.dirname(path));
      try {
        await this.#copyTree(source, chosen, { dir, path }, look);
      } finally {
        closeSync(dir);
      }
    } finally {
      closeSync(source.dir);
    }
  }

  /** Where a source goes, the folder for it made. */
  #prepareTarget(name: string, stat: FileStat, action: CopyAction, look: Look): string {
    const { target, contentsOnly } = action;
    // A set-uid program's mode is none for the folders above it.
    const mode = typeof action.mode === "number" ? action.mode & 0o777 : NEW_FOLDER_MODE;
    const isFolder = isFolderStat(stat);
    const isSaidFolder = target.endsWith("/") || target.endsWith("/.");
    const asked = isSaidFolder ? target : posix.dirname(target);
    if (action.createTarget) this.#ensure(asked, mode, look.owner);
    else if (this.#statOf(posix.dirname(evaluateInRoot(this.#root, target))) === undefined)
      throw new GantryError("invalid", `failed to stat ${target}: no such file or directory`);
    let path = evaluateInRoot(this.#root, target);
    const was = this.#statOf(path);
    const goesInto = isFolder ? !contentsOnly : isFolderStat(was ?? { mode: 0 });
    if (was !== undefined && goesInto) path = posix.join(path, posix.basename(name));
    this.#ensure(contentsOnly && isFolder && was === undefined ? path : posix.dirname(path), mode, look.owner);
    return path;
  }

  async #copyTree(
    source: Source,
    { filter }: Chosen,
    top: { readonly dir: number; readonly path: string },
    look: Look,
  ): Promise<void> {
    const levels: Level[] = [{ dir: top.dir, isNew: false }];
    /** Where the copy of a file with several names lies, by its inode. */
    const links = new Map<string, string>();
    const topName = posix.basename(top.path) || ".";
    try {
      for (const walked of walk(source, filter)) {
        if (this.#pace.isDue) await this.#pace.take();
        const { path, stat } = walked;
        const level = levels.at(-1)!;
        const name = path === "" ? topName : walked.base;
        const whole = path === "" ? top.path : `${top.path === "/" ? "" : top.path}/${path}`;
        if (walked.event === "enter") levels.push(this.#enter(level, name, whole));
        else if (walked.event === "leave") {
          levels.pop();
          try {
            // What was there keeps its look if only what is in it was asked for; its time is the source's. What only
            // leads to something wanted has a time of its own.
            const isMeant = path !== "" && walked.isWanted;
            if (level.isNew || isMeant) dressOpen(walked.own, level.dir, stat, look, path === "" || isMeant);
            else if (path === "") utimensat(level.dir, "", stat.atime, stat.mtime);
          } finally {
            closeSync(level.dir);
          }
        } else {
          const pending = this.#leaf(walked, level, name, whole, links, look);
          if (pending !== undefined) await pending;
        }
      }
    } finally {
      for (const { dir } of levels.slice(1)) closeSync(dir);
    }
  }

  #enter({ dir, isNew: isAboveNew }: Level, name: string, path: string): Level {
    let isNew = true;
    try {
      mkdirat(dir, name, 0o700);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      isNew = false;
    }
    if (!isNew && !isAboveNew && !isFolderStat(fstatat(dir, name)))
      throw new GantryError("invalid", `cannot copy to non-directory: ${path}`);
    return { dir: openat(dir, name, FOLDER), isNew };
  }

  /** A promise only for what takes long. */
  #leaf(
    walked: Walked,
    { dir }: Level,
    name: string,
    path: string,
    links: Map<string, string>,
    look: Look,
  ): Promise<void> | undefined {
    const { stat } = walked;
    const to = { dir, base: name };
    const kind = kindOf(stat);
    const inode = stat.nlink > 1 ? `${stat.dev}/${stat.ino}` : undefined;
    const first = inode === undefined ? undefined : links.get(inode);
    if (first !== undefined) {
      this.#anew(to, path, () => this.#link(first, to));
      return undefined;
    }
    if (inode !== undefined) links.set(inode, path);
    // A socket is nothing without who listens: its copy is an empty file.
    if (kind === constants.S_IFREG || kind === constants.S_IFSOCK) return this.#file(walked, to, path, look);
    if (kind === constants.S_IFLNK) {
      const leads = bytesToName(readlinkat(walked.dir, walked.base));
      this.#anew(to, path, () => symlinkat(leads, dir, name));
      dressNamed(walked, to, look, false);
    } else {
      this.#anew(to, path, () => mknodat(dir, name, kind | 0o600, stat.rdev.major, stat.rdev.minor));
      dressNamed(walked, to, look, true);
    }
    return undefined;
  }

  #file(
    walked: Walked,
    at: { readonly dir: number; readonly base: string },
    path: string,
    look: Look,
  ): Promise<void> | undefined {
    const { stat } = walked;
    const to = this.#anew(at, path, () => openat(at.dir, at.base, NEW_FILE, 0o600));
    if (kindOf(stat) === constants.S_IFSOCK) {
      closeSync(to);
      dressNamed(walked, at, look, true);
      return undefined;
    }
    let from: number | undefined;
    let pending: Promise<void> | undefined;
    const end = () => {
      closeSync(to);
      if (from !== undefined) closeSync(from);
    };
    try {
      from = openFile(walked.dir, walked.base);
      const opened = from;
      pending = this.#contents.copy(from, to, stat.size);
      if (pending === undefined) dressOpen(from, to, stat, look);
      else pending = pending.then(() => dressOpen(opened, to, stat, look)).finally(end);
    } finally {
      if (pending === undefined) end();
    }
    return pending;
  }

  /** Makes what has no name there; what was there before goes, unless it is a folder. */
  #anew<T>({ dir, base }: { readonly dir: number; readonly base: string }, path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
    this.#clear(dir, base, () => new GantryError("invalid", `cannot replace to directory ${path} with file`));
    return make();
  }

  #clear(dir: number, base: string, refuse: () => GantryError): void {
    const was = statIfThere(dir, base);
    if (was === undefined) return;
    if (isFolderStat(was)) throw refuse();
    unlinkat(dir, base);
  }

  #link(first: string, { dir, base }: { readonly dir: number; readonly base: string }): void {
    const from = this.#openFolder(posix.dirname(first));
    try {
      linkat(from, posix.basename(first), dir, base);
    } finally {
      closeSync(from);
    }
  }

  /** Makes a folder and those above it that are missing. */
  #ensure(path: string, mode: number, owner: Ids | undefined): void {
    try {
      closeSync(
        mkdirInRoot(this.#root, path, mode, (dir, name) => {
          if (owner !== undefined) fchownat(dir, name, owner.uid, owner.gid);
          fchmodat(dir, name, mode);
        }),
      );
    } catch (error) {
      if (!hasCode(error, "ENOTDIR")) throw error;
      throw new GantryError("invalid", `mkdir ${path}: not a directory`, { cause: error });
    }
  }

  #openFolder(path: string): number {
    return openInRoot(this.#root, path, O_PATH | constants.O_DIRECTORY);
  }

  /** Of a path without links. */
  #statOf(path: string): FileStat | undefined {
    let dir: number | undefined;
    try {
      dir = this.#openFolder(posix.dirname(path));
      return fstatat(dir, posix.basename(path) || ".");
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    } finally {
      if (dir !== undefined) closeSync(dir);
    }
  }

  #ids(owner: CopyAction["owner"]): Ids | undefined {
    return owner && resolveOwner(this.#root, owner, this.#context.onWarning);
  }
}

import { closeSync, constants, openSync } from "node:fs";
import { Breath } from "../../base/breath.ts";
import { GantryError, hasCode } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import { OpenFolders } from "../../kernel/open-folders.ts";
import { linkat, mkdirat, renameat, statIfThere } from "../../kernel/path.ts";
import { getXattr, listXattrs, setXattr } from "../../kernel/xattr.ts";
import { removeTree } from "../../snapshots/remove-tree.ts";
import { kindOf } from "./file-kind.ts";
import { dressFolder } from "./staging.ts";
import { type IndexedStat, linkTarget, type StatIndex } from "./stat-index.ts";
import type { Difference } from "./sync-receiver.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY;
const NO_ATTRIBUTES: ReadonlyMap<string, Uint8Array> = new Map();

/**
 * Makes a folder what an index says: `tree` is what the former index says, or a new folder beside the tree of that
 * (`from`), whose files are linked then. Files are moved in whole and never changed where they are.
 */
export async function applyDifference(
  tree: string,
  staging: string,
  difference: Difference,
  from: string | undefined,
): Promise<void> {
  const fds: number[] = [];
  const open = (path: string): number => {
    const fd = openSync(path, FOLDER);
    fds.push(fd);
    return fd;
  };
  try {
    const root = open(tree);
    using folders = new OpenFolders(root);
    const breath = new Breath();
    const work: Work = { root, folders, staging: open(staging), breath, difference, touched: new Set() };
    if (from === undefined) await remove(work);
    else await linkKept(work, open(from));
    failpoint("build.contexts.removed");
    await place(work);
    failpoint("build.contexts.placed");
    await dressTouched(work);
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

interface Work {
  readonly root: number;
  readonly folders: OpenFolders;
  readonly staging: number;
  readonly breath: Breath;
  readonly difference: Difference;
  /** Folders whose time is another now because of what was put into them. */
  readonly touched: Set<string>;
}

async function remove(work: Work): Promise<void> {
  const { breath, difference, folders } = work;
  for (const offset of difference.removed) {
    const { folder, base } = split(difference.former.at(offset).path);
    touch(work, folder);
    await removeTree(folders.at(folder), base);
    folders.forget();
    if (breath.isDue) await breath.take();
  }
}

/** Links what stays the same from another tree. */
async function linkKept(work: Work, from: number): Promise<void> {
  const { breath, difference, folders } = work;
  using formerFolders = new OpenFolders(from);
  let next = 0;
  for (const record of difference.index) {
    if (breath.isDue) await breath.take();
    if (difference.put[next]?.offset === record.offset) {
      next++;
      // Others may be linked into it before it is its turn.
      if (kindOf(record.mode) === "folder") makeFolder(work, record);
      continue;
    }
    const { folder, base } = split(record.path);
    if (kindOf(record.mode) === "folder") {
      makeFolder(work, record);
      copyAttributes(formerFolders.at(folder), folders.at(folder), base);
      work.touched.add(record.path);
    } else linkat(formerFolders.at(folder), base, folders.at(folder), base);
  }
}

async function place(work: Work): Promise<void> {
  const { breath, difference, folders, staging } = work;
  const { index, put } = difference;
  for (const { offset, staged } of put) {
    const record = index.at(offset);
    const { folder, base } = split(record.path);
    touch(work, folder);
    if (kindOf(record.mode) === "folder") makeFolder(work, record);
    else if (staged !== undefined) renameat(staging, staged, folders.at(folder), base);
    else linkFile(work, index, record);
    if (breath.isDue) await breath.take();
  }
  // From the innermost: what is done inside a folder changes its time.
  for (let at = put.length - 1; at >= 0; at--) {
    if (breath.isDue) await breath.take();
    const { offset, xattrs } = put[at]!;
    if (index.kindAt(offset) !== "folder") continue;
    const record = index.at(offset);
    const { folder, base } = split(record.path);
    dressFolder(folders.at(folder), base, { ...record, xattrs });
    work.touched.delete(record.path);
  }
}

function makeFolder({ folders }: Work, { path }: IndexedStat): void {
  const { folder, base } = split(path);
  try {
    mkdirat(folders.at(folder), base, 0o700);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  }
}

/** A hard link gets its own name first, so that it replaces what is there at one instant. */
function linkFile({ folders, staging }: Work, index: StatIndex, { path, linkname, offset }: IndexedStat): void {
  const target = index.find(linkTarget(linkname));
  if (target === undefined || target.offset > offset || kindOf(target.mode) === "folder") {
    const why = `it is a hard link to ${JSON.stringify(linkname)}, which was not told before`;
    throw new GantryError("invalid", `cannot take ${JSON.stringify(path)} of the context: ${why}`);
  }
  const { folder, base } = split(target.path);
  linkat(folders.at(folder), base, staging, String(offset));
  const own = split(path);
  renameat(staging, String(offset), folders.at(own.folder), own.base);
}

function touch({ touched }: Work, folder: string): void {
  if (folder !== "") touched.add(folder);
}

function copyAttributes(from: number, to: number, name: string): void {
  const source = `/proc/self/fd/${from}/${name}`;
  for (const attribute of listXattrs(source)) {
    const value = getXattr(source, attribute);
    if (value !== undefined) setXattr(`/proc/self/fd/${to}/${name}`, attribute, value);
  }
}

/** Gives folders that were only changed inside their times back, and those that were linked into their modes. */
async function dressTouched({ breath, difference, folders, touched }: Work): Promise<void> {
  for (const path of touched) {
    if (breath.isDue) await breath.take();
    const record = difference.index.find(path);
    if (record === undefined || kindOf(record.mode) !== "folder") continue;
    const { folder, base } = split(path);
    const dir = folders.find(folder);
    if (dir === undefined || statIfThere(dir, base) === undefined) continue;
    dressFolder(dir, base, { ...record, xattrs: NO_ATTRIBUTES });
  }
}

function split(path: string): { readonly folder: string; readonly base: string } {
  const slash = path.lastIndexOf("/");
  return { folder: path.slice(0, Math.max(slash, 0)), base: path.slice(slash + 1) };
}

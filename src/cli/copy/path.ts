import { existsSync, lstatSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { posix } from "node:path";
import { hasCode } from "../../base/errors.ts";

/** One end of a copy: what is there, and what a copy's top entry is to be called if not by its path. */
export interface CopyEnd {
  readonly path: string;
  readonly exists: boolean;
  readonly isDir: boolean;
  readonly rename: string;
}

/**
 * Takes `CONTAINER:PATH` apart. What has no colon, is absolute or begins with a dot is a path of this machine: that is
 * how a file with a colon in its name can be meant.
 */
export function splitArgument(argument: string): { readonly container: string; readonly path: string } {
  const colon = argument.indexOf(":");
  if (argument.startsWith("/") || colon === -1 || argument.startsWith(".")) return { container: "", path: argument };
  return { container: argument.slice(0, colon), path: argument.slice(colon + 1) };
}

/** A clean path; what the original ends with, "/" or "/.", it ends with too: that asks for a folder, or its content. */
function keepEnd(clean: string, original: string): string {
  let path = clean;
  if (!meansContent(path) && meansContent(original)) path = path.endsWith("/") ? `${path}.` : `${path}/.`;
  if (!path.endsWith("/") && original.endsWith("/")) path = `${path}/`;
  return path;
}

export function absolutePath(path: string): string {
  return keepEnd(posix.resolve(path), path);
}

/** Folder and last name; `dir/.` is the name "." in `dir`. */
export function splitEntry(path: string): { readonly folder: string; readonly base: string } {
  const clean = cleanPath(path);
  if (meansContent(path)) return { folder: clean, base: "." };
  return { folder: posix.dirname(clean), base: baseOf(clean) };
}

/** The last name of a path as Go has it: "/" of the root, "." of nothing. */
export function baseOf(path: string): string {
  if (path === "") return ".";
  return posix.basename(path) || "/";
}

function cleanPath(path: string): string {
  const clean = posix.normalize(path);
  return clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
}

function meansContent(path: string): boolean {
  return baseOf(path) === ".";
}

/** What `path` is called once its link was followed to `target`: the target, ended as the path was, and the old name. */
export function followed(path: string, target: string): { readonly path: string; readonly rename: string } {
  let resolved = target;
  if (meansContent(path) && !meansContent(resolved)) resolved = `${resolved}/.`;
  if (path.endsWith("/") && !resolved.endsWith("/")) resolved = `${resolved}/`;
  return { path: resolved, rename: baseOf(path) === baseOf(resolved) ? "" : baseOf(path) };
}

/** What is to be copied from this machine. Of a link the link itself, unless it is to be followed. */
export function localSource(path: string, followLink: boolean): CopyEnd {
  let found: { readonly path: string; readonly rename: string };
  if (followLink) found = followed(path, realpathOf(path));
  else {
    const slash = path.lastIndexOf("/");
    const folder = realpathOf(path.slice(0, slash + 1));
    const resolved = `${folder === "/" ? "" : folder}/${path.slice(slash + 1)}`;
    const renamed = path.endsWith("/") && baseOf(path) !== baseOf(resolved);
    found = { path: resolved, rename: renamed ? baseOf(path) : "" };
  }
  return { ...found, exists: true, isDir: lstatSync(found.path).isDirectory() };
}

/** The name of a path that isn't there is told as it was asked for, as lstat's complaint. */
function realpathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) lstatSync(path);
    throw error;
  }
}

const MOST_LINKS = 10;

/** Where on this machine a copy goes: links are followed, also one that leads to nothing yet. */
export function localDestination(path: string): CopyEnd {
  let at = path;
  let stat = lstatSync(at, { throwIfNoEntry: false });
  for (let links = 0; stat?.isSymbolicLink() === true; links++) {
    if (links > MOST_LINKS) throw new Error(`too many symlinks in ${path}`);
    const target = readlinkSync(at);
    at = target.startsWith("/") ? target : posix.join(splitEntry(at).folder, target);
    stat = lstatSync(at, { throwIfNoEntry: false });
  }
  if (stat !== undefined) return { path: at, exists: true, isDir: stat.isDirectory(), rename: "" };
  if (!statSync(splitEntry(at).folder).isDirectory()) throw new Error("not a directory");
  return { path: at, exists: false, isDir: false, rename: "" };
}

/** Refuses, before anything is asked of the engine, a destination that can't be written. */
export function checkOutput(path: string): void {
  const folder = posix.dirname(cleanPath(path));
  if (folder !== "." && !existsSync(folder)) {
    throw new Error(`invalid output path: directory ${JSON.stringify(folder)} does not exist`);
  }
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isCharacterDevice() === true || stat?.isBlockDevice() === true) {
    throw new Error(`invalid output path: ${JSON.stringify(path)} must be a directory or a regular file: got a device`);
  }
}

/** Into which folder a copy is extracted, and how the first names of its entries change on the way. */
export interface Arrangement {
  readonly folder: string;
  readonly rename: ((name: string) => string) | undefined;
}

/**
 * Settles what a copy makes of its two ends: into a folder that is there it goes under its own name, else it takes the
 * name of the destination.
 */
export function arrange(source: CopyEnd, destination: CopyEnd): Arrangement {
  if (destination.exists && destination.isDir) return { folder: destination.path, rename: undefined };
  if (destination.exists && source.isDir) throw new Error("cannot copy directory");
  if (!destination.exists && !source.isDir && assertsFolder(destination.path)) throw new Error("no such directory");
  const to = splitEntry(destination.path);
  const from = source.rename === "" ? splitEntry(source.path).base : source.rename;
  return { folder: to.folder, rename: renamer(from, to.base) };
}

function assertsFolder(path: string): boolean {
  return path.endsWith("/") || meansContent(path);
}

/** Puts `to` in the place of the first `from` in a name. The root's name is none: all names go below `to`. */
export function renamer(from: string, to: string): (name: string) => string {
  const old = from === "/" ? "" : from;
  return (name) => {
    const at = name.indexOf(old);
    return at === -1 ? name : `${name.slice(0, at)}${to}${name.slice(at + old.length)}`;
  };
}

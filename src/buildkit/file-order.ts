import { nameToBytes } from "../base/byte-string.ts";
import { GantryError } from "../base/errors.ts";
import { GO_MODE, hasGoMode } from "../base/go-mode.ts";
import type { Stat } from "./packet.ts";

const { dir, symlink, device, namedPipe, socket, charDevice, irregular } = GO_MODE;
const TYPES = dir + symlink + device + namedPipe + socket + charDevice + irregular;

/** True for what has bytes to ask for: of no special type. Links to earlier files look the same, apart from the name. */
export function isRegular(mode: number): boolean {
  return !hasGoMode(mode, TYPES);
}

/**
 * Holds a client to what a walk is: relative clean paths, folders before what is in them, names in the order of their
 * bytes, each once; links to files that came before. So nothing can be put below what is no folder.
 */
export class FileOrder {
  /** The folders that the last file was in, each with the last name that was told of it. */
  readonly #folders: { readonly prefix: string; last: string }[] = [{ prefix: "", last: "" }];

  /** Throws invalid for what can't be next. */
  check({ path, mode, size, linkname }: Stat): void {
    const folders = this.#folders;
    let top = folders.at(-1)!;
    while (!path.startsWith(top.prefix)) {
      folders.pop();
      top = folders.at(-1)!;
    }
    const name = path.slice(top.prefix.length);
    if (!isName(name)) throw refused(path, "no folder that it could be in was told before it");
    if (top.last !== "" && compareNames(top.last, name) >= 0) {
      throw refused(path, `it comes after ${JSON.stringify(`${top.prefix}${top.last}`.slice(0, 200))}`);
    }
    top.last = name;
    if (Number.isNaN(size)) throw refused(path, "its size is negative");
    if (hasGoMode(mode, GO_MODE.dir)) {
      if (linkname !== "") throw refused(path, "a folder links to nothing");
      folders.push({ prefix: `${path}/`, last: "" });
    } else if (linkname !== "" && isRegular(mode)) {
      const target = linkname.startsWith("/") ? linkname.slice(1) : linkname;
      if (!isPath(target) || comparePaths(target, path) >= 0) {
        throw refused(path, "what it is a link to was not told before it");
      }
    }
  }
}

function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !name.includes("/") && !name.includes("\0");
}

function isPath(path: string): boolean {
  return path.split("/").every(isName);
}

/** By their bytes: strings compare the same up to where surrogates begin. */
function compareNames(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const [unit, unlike] = [one.charCodeAt(at), other.charCodeAt(at)];
    if (unit === unlike) continue;
    if (unit < 0xd800 && unlike < 0xd800) return unit - unlike;
    return Buffer.compare(nameToBytes(one), nameToBytes(other));
  }
  return one.length - other.length;
}

function comparePaths(one: string, other: string): number {
  const [names, others] = [one.split("/"), other.split("/")];
  for (let at = 0; at < Math.min(names.length, others.length); at++) {
    const order = compareNames(names[at]!, others[at]!);
    if (order !== 0) return order;
  }
  return names.length - others.length;
}

function refused(path: string, why: string): GantryError {
  return new GantryError("invalid", `cannot take ${JSON.stringify(path.slice(0, 200))} from the client: ${why}`);
}

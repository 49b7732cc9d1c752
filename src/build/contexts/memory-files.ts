import { posix } from "node:path";
import { GantryError } from "../../base/errors.ts";
import type { FileReceiver, FileStat } from "../session.ts";
import { kindOf } from "./file-kind.ts";

/** Dockerfiles and ignore files are short. */
export const LONGEST_TEXT: number = 16 << 20;
const MOST_FILES = 64;
const MOST_LINKS = 40;

/** Takes a few short files of a client's into memory: those that were asked for, and what they are links to. */
export class MemoryFiles implements FileReceiver {
  readonly #files = new Map<string, Buffer>();
  readonly #links = new Map<string, string>();
  #count = 0;

  file({ mode, path, linkname, size }: FileStat): boolean {
    const kind = kindOf(mode);
    if (kind === "folder" || this.#count >= MOST_FILES) return false;
    if (kind === "link" || (kind === "file" && linkname !== "")) {
      this.#count++;
      // What a hard link names begins at the folder's top.
      this.#links.set(path, kind === "link" ? linkname : `/${linkname}`);
      return false;
    }
    // A client that tells more than it was asked for is not taken at its word.
    if (kind !== "file" || size > LONGEST_TEXT) return false;
    this.#count++;
    return true;
  }

  async contents({ path }: FileStat, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of bytes) {
      length += piece.length;
      if (length > LONGEST_TEXT)
        throw new GantryError("invalid", `cannot read ${path}: it is longer than ${LONGEST_TEXT} bytes`);
      pieces.push(piece);
    }
    this.#files.set(path, Buffer.concat(pieces));
  }

  async end(): Promise<void> {}

  /** A file's bytes, its links followed as if the folder were all there is; undefined if it isn't there. */
  read(path: string): Buffer | undefined {
    const pending = split(path).reverse();
    const done: string[] = [];
    let links = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "..") {
        done.pop();
        continue;
      }
      const target = this.#links.get([...done, name].join("/"));
      if (target === undefined) {
        done.push(name);
        continue;
      }
      if (++links > MOST_LINKS) return undefined;
      if (target.startsWith("/")) done.length = 0;
      pending.push(...split(target).reverse());
    }
    return this.#files.get(done.join("/"));
  }
}

function split(path: string): string[] {
  return posix
    .normalize(path)
    .split("/")
    .filter((part) => part !== "" && part !== ".");
}

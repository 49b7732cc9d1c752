import { GantryError } from "../../base/errors.ts";
import { followLinks } from "../../base/follow-links.ts";
import type { FileReceiver, FileStat } from "../session.ts";
import { kindOf } from "./file-kind.ts";

/** Dockerfiles and ignore files are short. */
export const LONGEST_TEXT: number = 16 << 20;
const MOST_FILES = 64;

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
    const leads = followLinks(path, (folder, name) => this.#links.get(folder === "" ? name : `${folder}/${name}`));
    return leads === undefined ? undefined : this.#files.get(leads);
  }
}

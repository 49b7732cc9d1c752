import { createReadStream } from "node:fs";
import { join } from "node:path";
import type { FileSource } from "../../buildkit/file-send.ts";
import type { Stat } from "../../buildkit/packet.ts";
import { type Wish, walk } from "./walk.ts";

/** What a build may read of this machine under one name. */
export type Folder =
  | { readonly path: string }
  /** Files that are on no disk, by their names. */
  | { readonly files: ReadonlyMap<string, Uint8Array> };

const PIECE = 256 << 10;

/** A folder as the engine asks for it. */
export function sourceOf(folder: Folder, wish: Wish): FileSource {
  if ("path" in folder) {
    return {
      files: () => walk(folder.path, wish),
      open: (path) => createReadStream(join(folder.path, path), { highWaterMark: PIECE }),
    };
  }
  return {
    files: () => [...folder.files].sort(([a], [b]) => (a < b ? -1 : 1)).map(statOf),
    open: async function* (path) {
      yield folder.files.get(path) ?? new Uint8Array();
    },
  };
}

function statOf([path, bytes]: readonly [string, Uint8Array]): Stat {
  const none = { uid: 0, gid: 0, modTime: 0n, linkname: "", devmajor: 0, devminor: 0, xattrs: new Map() };
  return { path, mode: 0o644, size: bytes.length, ...none };
}

import { constants } from "node:fs";
import type { TarType } from "./entry.ts";

const TYPES: ReadonlyMap<number, TarType> = new Map([
  [constants.S_IFREG, "file"],
  [constants.S_IFDIR, "directory"],
  [constants.S_IFLNK, "symlink"],
  [constants.S_IFCHR, "character"],
  [constants.S_IFBLK, "block"],
  [constants.S_IFIFO, "fifo"],
]);

/** The type bits that mknod(2) takes for what has no content. */
export const NODE_TYPE: Partial<Record<TarType, number>> = {
  character: constants.S_IFCHR,
  block: constants.S_IFBLK,
  fifo: constants.S_IFIFO,
};

/** What a file of this `st_mode` is in an archive; undefined for sockets, which a tar can't hold. */
export function tarTypeOf(mode: number): TarType | undefined {
  return TYPES.get(mode & constants.S_IFMT);
}

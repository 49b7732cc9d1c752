import { constants } from "node:fs";
import { GantryError } from "../../base/errors.ts";
import { goModeOf } from "../../base/go-mode.ts";
import type { Stat } from "../../buildkit/gateway.ts";
import { listRootFolder, type RootEntry, readRootFile, statRootFile } from "../files/root-files.ts";

/** As much as a message may have, and room for the rest of it. */
const MOST_BYTES = (16 << 20) - (64 << 10);
/** Names and what links lead to, and the numbers of so many entries: less than a message may have. */
const MOST_LISTED = { entries: 50_000, bytes: 10 << 20 } as const;
const SOCKET = 2 ** 24;

/** Where a client may look: a folder, whatever it is of. */
export interface Looked {
  readonly path: string | number;
}

export interface ReadRequest {
  readonly FilePath: string;
  readonly Range?: { readonly Offset: bigint; readonly Length: bigint } | undefined;
}

export interface ReadFolderRequest {
  readonly DirPath: string;
  readonly IncludePattern: string;
}

/** A file of a result. */
export function readFile({ path }: Looked, { FilePath, Range }: ReadRequest): Promise<Uint8Array> {
  const [offset, length] = [Number(Range?.Offset ?? 0n), Number(Range?.Length ?? 0n)];
  if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(length) || length < 0) {
    throw new GantryError("invalid", "invalid range of a file");
  }
  // A range of nothing is nothing.
  if (Range !== undefined && length === 0) return Promise.resolve(new Uint8Array());
  return readRootFile(path, FilePath, { offset, length }, MOST_BYTES);
}

/** What is in a folder of a result. */
export async function readFolder({ path }: Looked, { DirPath, IncludePattern }: ReadFolderRequest): Promise<Stat[]> {
  const entries = await listRootFolder(path, DirPath, IncludePattern, MOST_LISTED);
  return entries.map(statOf);
}

/** What is known of a file of a result. */
export function statFile({ path }: Looked, { Path }: { readonly Path: string }): Stat {
  return statOf(statRootFile(path, Path));
}

function statOf({ leads = "", name, stat }: RootEntry): Stat {
  const mode = goModeOf(stat.mode);
  const kind = stat.mode & constants.S_IFMT;
  const isDevice = kind === constants.S_IFCHR || kind === constants.S_IFBLK;
  return {
    path: name,
    // As BuildKit has it, whose archives know no sockets.
    mode: kind === constants.S_IFSOCK ? mode - SOCKET : mode,
    uid: stat.uid,
    gid: stat.gid,
    size: kind === constants.S_IFDIR ? 0n : BigInt(stat.size),
    modTime: BigInt(stat.mtime.seconds) * 1_000_000_000n + BigInt(stat.mtime.nanoseconds),
    linkname: leads,
    devmajor: BigInt(isDevice ? stat.rdev.major : 0),
    devminor: BigInt(isDevice ? stat.rdev.minor : 0),
    xattrs: {},
  };
}

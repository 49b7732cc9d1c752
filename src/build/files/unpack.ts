import { closeSync, constants, read as fsRead, openSync } from "node:fs";
import { promisify } from "node:util";
import { isKind, unlessCode } from "../../base/errors.ts";
import { evaluateInRoot, fstatat, O_CLOEXEC, O_PATH, openInRoot } from "../../kernel/path.ts";
import { decompress } from "../../oci/compression.ts";
import { readTar } from "../../oci/tar/reader.ts";
import { extractArchive } from "../../snapshots/unpack-tree.ts";
import { kindOf } from "./folder.ts";
import type { Ids } from "./owner.ts";

const PIECE = 1 << 18;

const readAsync = promisify(fsRead);

/** A file of a root, open to be read, if it is an archive, compressed or not; its links are followed. The caller closes it. */
export async function openArchive(root: number, path: string): Promise<number | undefined> {
  const found = unlessCode(["ENOENT", "ENOTDIR", "ELOOP"], () => openInRoot(root, path, O_PATH));
  if (found === undefined) return undefined;
  let fd: number | undefined;
  try {
    if (kindOf(fstatat(found, "")) !== constants.S_IFREG) return undefined;
    fd = openSync(`/proc/self/fd/${found}`, constants.O_RDONLY | O_CLOEXEC);
  } finally {
    closeSync(found);
  }
  try {
    if (await isArchive(fd)) return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

async function isArchive(fd: number): Promise<boolean> {
  try {
    const { stream } = await decompress(bytesOf(fd));
    for await (const _ of readTar(stream)) return true;
    return false;
  } catch (error) {
    if (isKind(error, "invalid")) return false;
    throw error;
  }
}

/** Puts what an open archive holds into a folder of a root, which is there. */
export async function unpackArchive(
  archive: number,
  root: number,
  folder: string,
  options: { readonly owner: Ids | undefined; readonly signal: AbortSignal },
): Promise<void> {
  const { stream } = await decompress(bytesOf(archive));
  try {
    await extractArchive(root, stream, {
      destination: evaluateInRoot(root, folder),
      mountPoints: [],
      owner: options.owner,
      keepKinds: false,
      dressRoot: true,
      signal: options.signal,
    });
  } finally {
    stream.destroy();
  }
}

/** The descriptor stays the caller's, whatever ends the stream. */
async function* bytesOf(fd: number): AsyncGenerator<Buffer> {
  for (let at = 0; ; ) {
    const piece = Buffer.allocUnsafe(PIECE);
    const { bytesRead } = await readAsync(fd, piece, 0, PIECE, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}

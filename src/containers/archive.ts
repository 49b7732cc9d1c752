import { accessSync, closeSync, constants } from "node:fs";
import type { Readable } from "node:stream";
import type { ContainerPathStat } from "../api/archive.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { evaluateInRoot, fstatat, O_PATH, openInRoot } from "../kernel/path.ts";
import { decompress } from "../oci/compression.ts";
import { type Located, packTree } from "../snapshots/pack-tree.ts";
import { extractArchive } from "../snapshots/unpack-tree.ts";
import { type ArchivePath, archivePath, locate, lookupError, pathStat } from "./archive-path.ts";
import type { ArchiveAnswer, ArchiveWriteOptions } from "./controller.ts";
import { publishContainerEvent } from "./event.ts";
import type { ContainerPorts } from "./ports.ts";
import type { RootView, RootViews } from "./root-view.ts";
import { resolveUser } from "./spec/user.ts";
import type { Entry } from "./table.ts";

export interface ArchiveParts {
  readonly ports: ContainerPorts;
  readonly views: RootViews;
}

/** What a path in a container is. `name` is how the client calls the container. */
export async function statPath(
  parts: ArchiveParts,
  entry: Entry,
  name: string,
  text: string,
): Promise<ContainerPathStat> {
  const path = archivePath(text);
  using view = await parts.views.open(entry, { volumes: true });
  return naming(text, name, () => {
    const found = locate(view.fd, path);
    try {
      return pathStat(view.fd, path, found.stat);
    } finally {
      closeSync(found.dir);
    }
  });
}

/** A path in a container, with all that is in it, as an archive. */
export async function readArchive(
  parts: ArchiveParts,
  entry: Entry,
  name: string,
  text: string,
): Promise<ArchiveAnswer> {
  const path = archivePath(text);
  const view = await parts.views.open(entry, { volumes: true });
  try {
    const found = naming(text, name, () => locate(view.fd, path));
    const stat = statOrClose(view, path, found);
    publishContainerEvent(parts.ports.events, entry.record, "archive-path");
    return { stat, stream: archiveOf(view, found, path.name) };
  } catch (error) {
    view[Symbol.dispose]();
    throw error;
  }
}

function statOrClose(view: RootView, path: ArchivePath, found: Located): ContainerPathStat {
  try {
    return pathStat(view.fd, path, found.stat);
  } catch (error) {
    closeSync(found.dir);
    throw error;
  }
}

/** The root filesystem as an archive, without what is in volumes. */
export async function exportContainer(parts: ArchiveParts, entry: Entry): Promise<AsyncIterableIterator<Uint8Array>> {
  refuseLeaving(entry, "export");
  const view = await parts.views.open(entry, { volumes: false });
  try {
    const dir = openInRoot(view.fd, "/", O_PATH | constants.O_DIRECTORY);
    const stream = archiveOf(view, { dir, base: ".", stat: fstatat(dir, ".") }, "");
    publishContainerEvent(parts.ports.events, entry.record, "export");
    return stream;
  } catch (error) {
    view[Symbol.dispose]();
    throw error;
  }
}

/** Refuses a container that is about to be no more. */
export function refuseLeaving({ record, transient }: Entry, verb: "commit" | "export"): void {
  const what = transient.dead ? "Dead" : transient.removing ? "being removed" : undefined;
  if (what !== undefined) {
    throw new GantryError("conflict", `You cannot ${verb} container ${record.id} which is ${what}`);
  }
}

/** Puts an archive, compressed or not, into a folder of a container. */
export async function writeArchive(
  parts: ArchiveParts,
  entry: Entry,
  name: string,
  text: string,
  body: Readable,
  options: ArchiveWriteOptions,
): Promise<void> {
  const path = archivePath(text);
  using view = await parts.views.open(entry, { volumes: true });
  const destination = naming(text, name, () => checkDestination(view, path.absolute));
  const { User } = entry.record.config;
  const owner = options.copyUidGid && User !== "" ? resolveUser(view.fd, User) : undefined;
  const { stream } = await decompress(body, { keepSource: true });
  try {
    await extractArchive(view.fd, stream, {
      destination,
      mountPoints: view.mountPoints,
      owner,
      keepKinds: options.noOverwriteDirNonDir,
      signal: options.signal,
    });
  } finally {
    if (stream !== body) stream.destroy();
  }
  publishContainerEvent(parts.ports.events, entry.record, "extract-to-dir");
}

/** The folder's path, links followed, if an archive can be put into it. */
function checkDestination(view: RootView, path: string): string {
  const fd = openInRoot(view.fd, path, O_PATH);
  try {
    const stat = fstatat(fd, "");
    if ((stat.mode & constants.S_IFMT) !== constants.S_IFDIR) {
      throw new GantryError("invalid", "extraction point is not a directory");
    }
    accessSync(`/proc/self/fd/${fd}`, constants.W_OK);
    return evaluateInRoot(view.fd, path);
  } catch (error) {
    if (!hasCode(error, "EROFS")) throw error;
    const isRootfs = fstatat(fd, "").dev === fstatat(view.fd, "").dev;
    throw new GantryError(
      "forbidden",
      isRootfs ? "container rootfs is marked read-only" : "mounted volume is marked read-only",
    );
  } finally {
    closeSync(fd);
  }
}

function naming<T>(path: string, container: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw lookupError(error, path, container);
  }
}

/** Takes over the view and the located thing. */
function archiveOf(view: RootView, thing: Located, name: string): AsyncIterableIterator<Uint8Array> {
  return packTree(thing, { name }, () => {
    closeSync(thing.dir);
    view[Symbol.dispose]();
  });
}

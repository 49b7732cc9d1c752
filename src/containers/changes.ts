import type { FilesystemChange } from "../api/archive.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { ContainerRecord } from "./record.ts";

const KINDS = { modified: 0, added: 1, deleted: 2 } as const;

/** What became of the files of a container's root filesystem since it was created. */
export async function listChanges(snapshots: Snapshotter, record: ContainerRecord): Promise<FilesystemChange[]> {
  const changes: FilesystemChange[] = [];
  for await (const { path, kind } of snapshots.changes(record.id)) {
    changes.push({ Path: `/${path.toWellFormed()}`, Kind: KINDS[kind] });
  }
  return changes;
}

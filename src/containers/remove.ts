import { rm } from "node:fs/promises";
import { failpoint } from "../base/failpoint.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerTable, Entry } from "./table.ts";
import { containerFolder } from "./view.ts";

/**
 * Deletes a container that has no process. The records go first, in one transaction: from then on it does not exist,
 * and what a crash leaves of its folders, volumes and snapshot is swept at boot as belonging to nobody.
 */
export async function removeContainer(
  ports: ContainerPorts,
  table: ContainerTable,
  entry: Entry,
  options: { readonly volumes: boolean },
): Promise<void> {
  const { id, mounts } = entry.record;
  const sweeping: Promise<void>[] = [];
  ports.store.transaction(() => {
    table.delete(entry);
    if (!options.volumes) return;
    for (const mount of mounts) {
      if (!mount.anonymous || mount.name === undefined || usersOf(table, mount.name).length > 0) continue;
      sweeping.push(ports.volumes.remove(mount.name, { force: true }));
    }
  });
  failpoint("containers.remove.forgotten");
  await Promise.all([
    ...sweeping,
    ports.snapshots.remove(id),
    rm(containerFolder(ports.settings().dataRoot, id), { recursive: true, force: true }),
  ]);
  failpoint("containers.remove.swept");
}

/** Ids of the containers, running or not, that mount a volume. */
export function usersOf(table: ContainerTable, volume: string): string[] {
  return table
    .all()
    .filter(({ record }) => record.mounts.some((mount) => mount.name === volume))
    .map(({ record }) => record.id);
}

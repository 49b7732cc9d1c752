import { rm } from "node:fs/promises";
import { failpoint } from "../base/failpoint.ts";
import { imagePins } from "./mounts.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerTable, Entry } from "./table.ts";
import { containerFolder } from "./view.ts";

/**
 * Deletes a container that has no process. When it returns, the container does not exist: its records are gone, in one
 * transaction that the caller flushes, and its snapshot and volumes out of their places. The result removes their files, once `unmounted` has
 * come; what a crash leaves of them belongs to nobody and is swept at boot.
 */
export function removeContainer(
  ports: ContainerPorts,
  table: ContainerTable,
  entry: Entry,
  options: { readonly volumes: boolean },
  unmounted: Promise<void>,
): () => Promise<void> {
  const { id, mounts } = entry.record;
  const sweeping: Promise<void>[] = [];
  const forget = () => {
    table.delete(entry);
    if (!options.volumes) return;
    for (const mount of mounts) {
      if (!mount.anonymous || mount.name === undefined || usersOf(table, mount.name).length > 0) continue;
      sweeping.push(ports.volumes.remove(mount.name, { force: true }));
    }
  };
  ports.store.relaxed(forget);
  failpoint("containers.remove.forgotten");
  // Somebody who cleaned up may have taken it.
  for (const key of [id, ...imagePins(entry.record).map((pin) => pin.key)]) {
    if (ports.snapshots.has(key)) sweeping.push(ports.snapshots.remove(key, { after: unmounted }));
  }
  const swept = Promise.allSettled(sweeping);
  return async () => {
    await ports.shippedLogs.release(id);
    await rm(containerFolder(ports.settings().dataRoot, id), { recursive: true, force: true });
    for (const result of await swept) if (result.status === "rejected") throw result.reason;
    failpoint("containers.remove.swept");
  };
}

/** Ids of the containers, running or not, that mount a volume. */
export function usersOf(table: ContainerTable, volume: string): string[] {
  return table
    .all()
    .filter(({ record }) => record.mounts.some((mount) => mount.type === "volume" && mount.name === volume))
    .map(({ record }) => record.id);
}

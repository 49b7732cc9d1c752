import type { ContainersPruneResponse } from "../api/container.ts";
import type { Filters } from "../api/filters.ts";
import { messageOf } from "../base/errors.ts";
import { pruneFilter } from "./filter.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerTable } from "./table.ts";

/** Removes the containers that do not run and that the filters choose; one that can't be removed stays. */
export async function pruneContainers(
  parts: { readonly ports: ContainerPorts; readonly table: ContainerTable; readonly lifecycle: Lifecycle },
  filters: Filters,
): Promise<ContainersPruneResponse> {
  const { ports, table, lifecycle } = parts;
  const isChosen = pruneFilter(filters);
  const ContainersDeleted: string[] = [];
  let SpaceReclaimed = 0;
  for (const entry of table.all()) {
    const { record, transient } = entry;
    if (record.state.status === "running" || transient.restarting || transient.removing || !isChosen(record)) continue;
    const size = ports.snapshots.has(record.id) ? await ports.snapshots.usage(record.id) : 0;
    try {
      await lifecycle.remove(entry, { force: false, volumes: false });
    } catch (error) {
      ports.log.warn(`cannot prune: ${messageOf(error)}`, { container: record.id });
      continue;
    }
    ContainersDeleted.push(record.id);
    SpaceReclaimed += size;
  }
  ports.events.publish({
    type: "container",
    action: "prune",
    id: "",
    attributes: { reclaimed: String(SpaceReclaimed) },
  });
  return { ContainersDeleted: ContainersDeleted.length === 0 ? null : ContainersDeleted, SpaceReclaimed };
}

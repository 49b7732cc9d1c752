import type { ContainerUpdateRequest, ContainerUpdateResponse } from "../../api/container.ts";
import { GantryError } from "../../base/errors.ts";
import { publishContainerEvent } from "../event.ts";
import type { Lifecycle } from "../lifecycle.ts";
import type { ContainerPorts } from "../ports.ts";
import { hostFacts } from "../spec/host.ts";
import { settleLimits } from "../spec/limits.ts";
import { buildResources } from "../spec/resources.ts";
import { checkRestartPolicy } from "../spec/validate.ts";
import { controllersOf } from "../spec-of.ts";
import type { ContainerTable, Entry } from "../table.ts";
import { applyWrites } from "./apply.ts";
import { limitWrites } from "./control-writes.ts";
import { type Changeable, changedLimits, lateWishes, mergeUpdate } from "./merge.ts";

export interface UpdateParts {
  readonly ports: ContainerPorts;
  readonly table: ContainerTable;
  readonly lifecycle: Lifecycle;
}

/**
 * Changes the limits and the restart policy of a container. One that runs, paused or not, has the limits when this
 * resolves; the record says so only if the kernel took all of them, and the kernel keeps them only if it is on the disk.
 */
export async function updateContainer(
  { ports, table, lifecycle }: UpdateParts,
  entry: Entry,
  wished: ContainerUpdateRequest,
): Promise<ContainerUpdateResponse> {
  const { id } = entry.record;
  const { resources, warnings } = settleLimits(wished, hostFacts(), { update: true });
  checkRestartPolicy({ RestartPolicy: wished.RestartPolicy, AutoRemove: false });
  // Docker writes "no limit" of an update as 0.
  const request = { ...resources, PidsLimit: resources.PidsLimit === null ? null : Math.max(resources.PidsLimit, 0) };
  return lifecycle.exclusively(entry, async () => {
    const { record, transient } = entry;
    if (transient.removing || transient.dead) {
      throw cannot(id, new GantryError("conflict", 'container is marked for removal and cannot be "update"'));
    }
    warnings.push(...lateWishes(request, record.hostConfig));
    let takeBack = () => {};
    try {
      const next = mergeUpdate(record.hostConfig, request);
      // Of one that does not run too: a device that is not there would keep it from ever starting.
      buildResources(next);
      if (record.state.status === "running") {
        const place = controllersOf(id, ports.settings());
        const changed = Object.keys(changedLimits(request)) as Changeable[];
        if (place !== undefined && changed.length > 0) {
          takeBack = applyWrites(place, limitWrites(place.version, record.hostConfig, next, changed));
        }
      }
      await table.updateSoon(entry, { hostConfig: next });
    } catch (error) {
      takeBack();
      entry.record = { ...entry.record, hostConfig: record.hostConfig };
      throw cannot(id, error);
    }
    lifecycle.policyChanged(entry);
    publishContainerEvent(ports.events, entry.record, "update");
    return { Warnings: warnings.length === 0 ? null : warnings };
  });
}

function cannot(id: string, error: unknown): unknown {
  if (!(error instanceof GantryError)) return error;
  return new GantryError(error.kind, `Cannot update container ${id}: ${error.message}`, { cause: error });
}

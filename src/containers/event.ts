import { byKey } from "../base/by-key.ts";
import type { EventBus } from "../events/bus.ts";
import type { ContainerRecord } from "./record.ts";

/** Publishes an event of a container with the attributes that Docker's have: labels, image, name. */
export function publishContainerEvent(
  events: EventBus,
  record: ContainerRecord,
  action: string,
  more: Readonly<Record<string, string>> = {},
): void {
  events.publish({
    type: "container",
    action,
    id: record.id,
    attributes: byKey({ ...record.config.Labels, ...more, image: record.image, name: record.name }),
  });
}

/** Tells that a container's volumes are in use by it, or no more. */
export function publishVolumeEvents(events: EventBus, record: ContainerRecord, action: "mount" | "unmount"): void {
  for (const mount of record.mounts) {
    if (mount.type !== "volume" || mount.name === undefined) continue;
    const use = {
      destination: mount.destination,
      "read/write": String(!mount.readonly),
      propagation: mount.propagation,
    };
    events.publish({
      type: "volume",
      action,
      id: mount.name,
      attributes: { driver: mount.driver ?? "local", container: record.id, ...(action === "mount" && use) },
    });
  }
}

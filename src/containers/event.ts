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
    attributes: { ...record.config.Labels, ...more, image: record.image, name: record.name },
  });
}

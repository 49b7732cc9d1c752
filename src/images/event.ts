import type { EventBus } from "../events/bus.ts";
import type { ImageRecord } from "./record.ts";

export type ImageAction = "create" | "delete" | "import" | "load" | "save" | "tag" | "untag" | "whole";

/** Tells what happened to an image, with its labels as attributes as Docker does. */
export function publishImageEvent(events: EventBus, action: ImageAction, image: ImageRecord, name: string): void {
  events.publish({ type: "image", action, id: image.id, attributes: { ...image.config.config?.Labels, name } });
}

import type { EventMessage } from "../api/event.ts";
import { checkFilters, type Filters, matchLabels } from "../api/filters.ts";

const KEYS = [
  "config",
  "container",
  "daemon",
  "event",
  "image",
  "label",
  "network",
  "node",
  "plugin",
  "scope",
  "secret",
  "service",
  "type",
  "volume",
] as const;

/** Keys that name an object of a type by its id, a prefix of it, or its name. */
const OBJECTS = ["container", "daemon", "image", "network", "plugin", "volume", "config", "node", "secret", "service"];

/** The filter of GET /events. Throws invalid on a key it doesn't know. */
export function eventFilter(filters: Filters): (event: EventMessage) => boolean {
  checkFilters(filters, KEYS);
  const any = (key: string, test: (value: string) => boolean) => {
    const values = filters[key];
    return values === undefined || values.length === 0 || values.some(test);
  };
  return (event) =>
    any("event", (value) => event.Action === value || event.Action.startsWith(`${value}:`)) &&
    any("type", (value) => event.Type === value) &&
    any("scope", (value) => event.scope === value) &&
    matchLabels(event.Actor.Attributes, filters.label ?? []) &&
    OBJECTS.every((key) => any(key, (value) => concerns(event, key, value)));
}

function concerns(event: EventMessage, key: string, value: string): boolean {
  const { ID, Attributes } = event.Actor;
  // An image is what a container was made of as well as what an image event is about.
  if (key === "image" && event.Type === "container") return sameImage(Attributes.image ?? "", value);
  if (event.Type !== key) return false;
  if (key === "image") return ID === value || sameImage(ID, value) || sameImage(Attributes.name ?? "", value);
  return ID.startsWith(value) || (Attributes.name ?? "").startsWith(value);
}

/** A name without a tag stands for each of its tags. */
function sameImage(name: string, value: string): boolean {
  return name === value || name.replace(/:[^:/]*$/, "") === value;
}

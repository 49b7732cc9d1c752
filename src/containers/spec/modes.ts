/** The container that a mode such as `container:X` names; undefined for any other mode. */
export function joinedContainer(mode: string): string | undefined {
  return mode.startsWith("container:") ? mode.slice("container:".length) : undefined;
}

/** A namespace of the container's own: neither the host's nor another container's. */
export function isPrivate(mode: string): boolean {
  return mode !== "host" && joinedContainer(mode) === undefined;
}

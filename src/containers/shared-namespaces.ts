import type { HostConfig } from "../api/container.ts";
import { isKind } from "../base/errors.ts";
import { joinedContainer } from "./spec/modes.ts";
import type { ContainerTable } from "./table.ts";

/**
 * The modes of a create request with the ids of the containers they name, so that a later change of name changes
 * nothing. What names none stays as it is: whoever needs it says so.
 */
export function settleSharedNamespaces(
  table: ContainerTable,
  { PidMode, IpcMode, NetworkMode }: HostConfig,
): Pick<HostConfig, "PidMode" | "IpcMode" | "NetworkMode"> {
  const settled = (mode: string): string => {
    const name = joinedContainer(mode);
    if (name === undefined) return mode;
    try {
      return `container:${table.find(name).record.id}`;
    } catch (error) {
      if (isKind(error, "not-found") || isKind(error, "invalid")) return mode;
      throw error;
    }
  };
  return { PidMode: settled(PidMode), IpcMode: settled(IpcMode), NetworkMode: settled(NetworkMode) };
}

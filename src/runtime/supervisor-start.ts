import { findHelper, type HelperPlace, startHelper } from "./helper-start.ts";
import { SUPERVISOR_NAME } from "./protocol.ts";

export interface SupervisorPlace {
  /** Absolute; at most 90 bytes, since sockets lie in it. */
  readonly execRoot: string;
  /** The Node executable, and the supervisor's program: supervisor/main.ts or what it was bundled to. */
  readonly nodePath: string;
  readonly supervisorScript: string;
}

/** A connection to the living supervisor of an exec root; undefined if there is none. */
export function findSupervisor(execRoot: string): number | undefined {
  return findHelper({ execRoot, name: SUPERVISOR_NAME });
}

/** Starts a supervisor that outlives this process, and connects to it. */
export function startSupervisor({ execRoot, nodePath, supervisorScript }: SupervisorPlace): Promise<number> {
  const place: HelperPlace = { name: SUPERVISOR_NAME, execRoot, nodePath, script: supervisorScript };
  return startHelper(place);
}

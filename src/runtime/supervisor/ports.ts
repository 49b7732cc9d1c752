import type { ProcessExit } from "../process.ts";
import type { OciCommand } from "./oci-command.ts";
import type { Reaper } from "./reaper.ts";

/** What containers and execs need of the supervisor around them. */
export interface SupervisorPorts {
  readonly execRoot: string;
  readonly oci: OciCommand;
  readonly reaper: Reaper;
  /** The exit is on disk and the output is in the log: tell whoever listens. */
  announce(exit: ProcessExit): void;
}

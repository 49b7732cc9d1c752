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

/** Where a container's output goes besides to those who are attached. */
export interface OutputLog {
  /** Appends the `size` bytes that lie in the transfer block. Never throws. */
  append(stream: 1 | 2, size: number): void;
  close(): void;
}

import type { StatusResponse } from "../../../buildkit/control.ts";

/** How a build is shown while it runs. */
export interface Display {
  show(status: StatusResponse): void;
  /** Nothing more comes. */
  finish(failed: boolean): void;
}

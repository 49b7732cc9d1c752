import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

/** Does what nothing else depends on: if it fails, the log says so. `what` follows "cannot". */
export async function quietly(log: Logger, what: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    log.warn(`cannot ${what}: ${messageOf(error)}`);
  }
}

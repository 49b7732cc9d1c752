import { messageOf } from "../base/errors.ts";
import { EngineError } from "../client/client.ts";

/** What is printed for an error: the engine's own texts say that they are the engine's. */
export function errorLine(error: unknown): string {
  return error instanceof EngineError && !error.message.startsWith("unable to upgrade")
    ? `Error response from daemon: ${error.message}`
    : messageOf(error);
}

import { messageOf } from "../base/errors.ts";
import { EngineError } from "../client/client.ts";

/** What is printed for an error: the engine's own texts say that they are the engine's. */
export function errorLine(error: unknown): string {
  return error instanceof EngineError && !error.message.startsWith("unable to upgrade")
    ? `Error response from daemon: ${error.message}`
    : messageOf(error).replace(SYSTEM_ERROR, "$2 $3: $1");
}

/** Node's words for a failed system call, which come in another order than the ones that users of such tools know. */
const SYSTEM_ERROR = /^E[A-Z0-9]+: (.+), (\w+) '(.*)'$/;

import { messageOf } from "../base/errors.ts";
import { EngineError } from "../client/client.ts";

const NOT_SERVED = ": it is no engine of Gantry's, or an older one";

/** What is printed for an error: the engine's own texts say that they are the engine's. */
export function errorLine(error: unknown): string {
  return printable(
    error instanceof EngineError && !error.message.startsWith("unable to upgrade")
      ? `Error response from daemon: ${error.message}${isUnknown(error) ? NOT_SERVED : ""}`
      : messageOf(error).replace(SYSTEM_ERROR, "$2 $3: $1"),
  );
}

/** An engine doesn't know the request itself, whatever it was about. */
function isUnknown({ message, status }: EngineError): boolean {
  return status === 404 && message === "page not found";
}

/** Without control characters: an image or a path may be named so that it would steer the terminal it is printed on. */
export function printable(text: string): string {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** Node's words for a failed system call, which come in another order than the ones that users of such tools know. */
const SYSTEM_ERROR = /^E[A-Z0-9]+: (.+), (\w+) '(.*)'$/;

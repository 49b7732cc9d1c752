import { GantryError, hasCode, messageOf } from "../../base/errors.ts";

const NAMES: Readonly<Record<number, string>> = { 1: " /dev/stdout", 2: " /dev/stderr" };

/**
 * What to say when a descriptor could not be written. Does not return if its reader has gone away: this process then
 * ends as one does that SIGPIPE kills, since there is nobody to say anything to.
 */
export function outputFailure(fd: number, error: unknown): GantryError {
  if (hasCode(error, "EPIPE")) process.exit(141);
  const why = messageOf(error).replace(/^E[A-Z0-9]+: (.+), \w+$/, "$1");
  return new GantryError("unavailable", `write${NAMES[fd] ?? ""}: ${why}`, { cause: error });
}

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { GantryError } from "../base/errors.ts";

/**
 * Refuses to begin with no records where there is what they told of: the boot would take every container and volume
 * of the data root for something that a crash left, and remove it.
 */
export function refuseLostRecords(dataRoot: string, records: string): void {
  const size = statSync(records, { throwIfNoEntry: false })?.size;
  if (size !== undefined && size > 0) return;
  const held = ["containers", "volumes"].filter((name) => {
    const folder = join(dataRoot, name);
    return existsSync(folder) && readdirSync(folder).length > 0;
  });
  if (held.length === 0) return;
  throw new GantryError(
    "internal",
    `cannot start: ${records} is ${size === 0 ? "empty" : "missing"}, but ${dataRoot} holds ${held.join(" and ")}: put the file back from a copy, or empty the data root to begin anew`,
  );
}

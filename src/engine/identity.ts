import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../base/atomic-file.ts";
import { GantryError, hasCode } from "../base/errors.ts";

/** The id of a data root, made at its first use: a UUID. Names of links and tables are derived from it. */
export function engineIdentity(dataRoot: string): string {
  const path = join(dataRoot, "engine-id");
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
    text = randomUUID();
    writeFileAtomic(path, `${text}\n`);
  }
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) {
    throw new GantryError("internal", `cannot read the engine's id: ${path} holds none; remove it to make another`);
  }
  return text;
}

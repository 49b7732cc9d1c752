import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

/**
 * A name of this machine, that no other has: of the folder of its user's settings, so that who has another one (by
 * DOCKER_CONFIG) is another machine. Where nothing can be kept it is the host's name.
 */
export function machineName(configFolder: string): string {
  const file = join(configFolder, "gantry-machine-id");
  try {
    const known = readFileSync(file, "utf8");
    if (known !== "") return known;
  } catch {
    // There is none yet, or none that can be read.
  }
  const id = `${hostname()} ${randomBytes(16).toString("hex")}`;
  try {
    mkdirSync(configFolder, { recursive: true });
    writeFileSync(file, id, { flag: "wx", mode: 0o600 });
    return id;
  } catch {
    // Somebody else was first, or nothing can be kept here: then all is sent anew each time.
    return hostname();
  }
}

import { join } from "node:path";
import type { EngineConfig } from "./options.ts";

/** Docker's own, so that plugins which were made for it are found. */
const DOCKERS = ["/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"];

/** Where volume plugins are looked for, the first one first. */
export function pluginFolders({ pluginDirs, execRoot }: EngineConfig): readonly string[] {
  return pluginDirs.length > 0 ? pluginDirs : [join(execRoot, "plugins"), "/etc/gantry/plugins", ...DOCKERS];
}

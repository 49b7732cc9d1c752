import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { GantryError } from "../base/errors.ts";
import type { OciRuntime } from "../runtime/process.ts";
import { STOCK_RUNTIMES } from "./config.ts";
import type { EngineConfig } from "./options.ts";

/** An executable by its path, or by its name on the PATH; undefined if there is none. */
export function findExecutable(name: string): string | undefined {
  const folders = `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`.split(":");
  const candidates = isAbsolute(name) ? [name] : folders.filter(isAbsolute).map((folder) => join(folder, name));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return statSync(path).isFile();
    } catch {
      return false;
    }
  });
}

/**
 * The OCI runtimes that containers may name: the configured ones and those known by name that are installed. Throws
 * unavailable if the default one isn't.
 */
export function findRuntimes(config: EngineConfig): ReadonlyMap<string, OciRuntime> {
  const found = new Map<string, OciRuntime>();
  const wanted = [
    ...STOCK_RUNTIMES.map((name) => [name, { path: name, args: [] }] as const),
    ...Object.entries(config.runtimes),
  ];
  for (const [name, { path, args }] of wanted) {
    const executable = findExecutable(path);
    if (executable !== undefined) found.set(name, { name, path: executable, args });
  }
  if (!found.has(config.defaultRuntime)) {
    const path = config.runtimes[config.defaultRuntime]?.path ?? config.defaultRuntime;
    throw new GantryError(
      "unavailable",
      `cannot find the default runtime ${config.defaultRuntime}: no executable ${path}`,
    );
  }
  return found;
}

import { execFile } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { promisify } from "node:util";
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

/** The version that an OCI runtime prints, `1.8.1` of `crun version 1.8.1`; empty if it prints none. */
export async function runtimeVersion(path: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(path, ["--version"], { timeout: 5_000 });
    return /version (\S+)/.exec(stdout)?.[1] ?? "";
  } catch {
    return "";
  }
}

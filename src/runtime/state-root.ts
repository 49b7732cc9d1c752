import type { OciRuntime } from "./process.ts";

/** The folder in which an OCI runtime keeps its own state, one folder a container. */
export function runtimeStateRoot(execRoot: string, runtime: OciRuntime): string {
  return `${execRoot}/runtime/r-${runtime.name.replaceAll(/[^\w.-]/g, "_")}`;
}

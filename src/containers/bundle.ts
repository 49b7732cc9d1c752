import { join } from "node:path";

/** Where a running container's config.json, root filesystem and shared memory are mounted. */
export function bundleFolder(execRoot: string, id: string): string {
  return join(execRoot, "bundles", id);
}

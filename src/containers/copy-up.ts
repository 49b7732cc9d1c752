import { spawn } from "node:child_process";
import { closeSync, constants, openSync, readdirSync } from "node:fs";
import { GantryError, hasCode } from "../base/errors.ts";
import { openInRoot } from "../kernel/path.ts";

/**
 * Fills an empty volume with what the image has at its mount point, owner and mode of the folder included: what users
 * of images that declare volumes expect. The path is resolved inside the root filesystem by the kernel.
 */
export async function copyUp(rootfs: string, destination: string, volume: string): Promise<void> {
  if (readdirSync(volume).length > 0) return;
  let from: number;
  try {
    from = openInRoot(rootfs, destination, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return;
    throw error;
  }
  const to = openSync(volume, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await copyTree(from, to, destination);
  } finally {
    closeSync(from);
    closeSync(to);
  }
}

/** coreutils' cp keeps what Node's does not: owners, extended attributes, hard links, devices, holes. */
function copyTree(from: number, to: number, destination: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const child = spawn("/bin/cp", ["-a", "--", "/proc/self/fd/3/.", "/proc/self/fd/4/"], {
    stdio: ["ignore", "ignore", "pipe", from, to],
    env: { LC_ALL: "C" },
  });
  let said = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    if (said.length < 4096) said += chunk.toString();
  });
  child.on("error", reject);
  child.on("close", (code) => {
    if (code === 0) resolve();
    else reject(new GantryError("internal", `cannot copy ${destination} of the image into its volume: ${said.trim()}`));
  });
  return promise;
}

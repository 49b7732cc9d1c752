import { spawn } from "node:child_process";
import { closeSync, constants, openSync, readdirSync } from "node:fs";
import { GantryError, hasCode, unlessCode } from "../base/errors.ts";
import { O_PATH, openInRoot } from "../kernel/path.ts";

/**
 * Fills an empty volume with what the image has at its mount point, owner and mode of the folder included: what users
 * of images that declare volumes expect. The path is resolved inside the root filesystem by the kernel. A volume that is
 * declared by its path alone can't be where the image has a file.
 */
export async function copyUp(
  rootfs: string,
  destination: string,
  volume: string,
  { isDeclared }: { readonly isDeclared: boolean },
): Promise<void> {
  let from: number;
  try {
    from = openInRoot(rootfs, destination, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (hasCode(error, "ENOTDIR") && isDeclared && isFile(rootfs, destination)) {
      const why = `cannot mount volume over existing file, file exists ${destination}`;
      throw new GantryError("invalid", why, { cause: error });
    }
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return;
    throw error;
  }
  try {
    // Of a volume it may be a file that is mounted.
    const to = unlessCode(["ENOTDIR"], () => openSync(volume, constants.O_RDONLY | constants.O_DIRECTORY));
    if (to === undefined) return;
    try {
      if (readdirSync(`/proc/self/fd/${to}`).length === 0) await copyTree(from, to, destination);
    } finally {
      closeSync(to);
    }
  } finally {
    closeSync(from);
  }
}

function isFile(rootfs: string, path: string): boolean {
  const fd = unlessCode(["ENOENT", "ENOTDIR", "ELOOP"], () => openInRoot(rootfs, path, O_PATH));
  if (fd !== undefined) closeSync(fd);
  return fd !== undefined;
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

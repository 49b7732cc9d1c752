import { execFile } from "node:child_process";
import { existsSync, renameSync, statSync } from "node:fs";
import { open, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { syncFolder } from "../base/atomic-file.ts";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { listMounts } from "../kernel/mount.ts";

/**
 * A disk of limited size: an ext4 file system in a sparse file, mounted by a loop device. What is written takes room of
 * the machine's disk, what is deleted gives it back.
 */

/** Smaller ones have no room for a file system. */
export const SMALLEST_DISK = 1 << 20;
/** What ext4 can be, with blocks of 4 KiB. */
export const LARGEST_DISK = 2 ** 44;

const PROGRAMS = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
const PATIENCE_MS = 120_000;
const run = promisify(execFile);

/** Whether this machine has what makes file systems. */
export function hasDisks(): boolean {
  return PROGRAMS.some((folder) => existsSync(join(folder, "mkfs.ext4")));
}

/** The file that a volume's disk lies in, by the volume's folder. */
export function diskPath(folder: string): string {
  return join(folder, "volume.img");
}

/** Bytes of the machine's disk that a disk takes; 0 for one that was never used. */
export function diskTakes(folder: string): number {
  return (statSync(diskPath(folder), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
}

/** Mounts a disk at `target`; makes it first if there is none. */
export async function mountDisk(folder: string, target: string, size: number): Promise<void> {
  const path = diskPath(folder);
  if (!existsSync(path)) await makeDisk(path, size);
  await tool("mount", ["-i", "-n", "-t", "ext4", "-o", "loop,discard,nodev", "--", path, target], "mount");
}

/** Whole or not there at all: it is made under another name. */
async function makeDisk(path: string, size: number): Promise<void> {
  const draft = `${path}.new`;
  await rm(draft, { force: true });
  try {
    await using file = await open(draft, "wx", 0o600);
    await file.truncate(size);
    // No room is set aside for root: all that runs in a container may be root.
    await tool("mkfs.ext4", ["-q", "-F", "-m", "0", "-E", "root_owner=0:0,nodiscard", "--", draft], "make");
    // Where content is expected, a volume that isn't empty is taken for one that has some.
    await tool("debugfs", ["-w", "-R", "rmdir lost+found", draft], "make");
    await file.sync();
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  renameSync(draft, path);
  syncFolder(join(path, ".."));
}

/**
 * Makes a disk larger that is mounted at `target`. What died on the way is done again. The kernel does it, and lets only
 * those who may pass limits of resources (CAP_SYS_RESOURCE). Never done to one that isn't mounted here: it may be in
 * another mount namespace, where it goes on to be written to.
 */
export async function growDisk(folder: string, target: string, size: number): Promise<void> {
  const path = diskPath(folder);
  if (statSync(path).size < size) await truncate(path, size);
  const { source } = listMounts(target).findLast((row) => row.target === target) ?? {};
  if (source === undefined) throw new GantryError("internal", `cannot grow ${path}: it isn't mounted`);
  await tool("losetup", ["--set-capacity", source], "grow");
  await tool("resize2fs", [source], "grow");
}

async function tool(program: string, args: readonly string[], verb: string): Promise<void> {
  try {
    await run(program, [...args], {
      timeout: PATIENCE_MS,
      killSignal: "SIGKILL",
      maxBuffer: 64 << 10,
      env: { PATH: PROGRAMS.join(":"), LC_ALL: "C" },
    });
  } catch (error) {
    const missing = hasCode(error, "ENOENT");
    const said = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1) ?? "";
    const why = missing ? `${program} is not installed` : said === "" ? messageOf(error) : said;
    throw new GantryError("internal", `cannot ${verb} the disk of limited size ${args.at(-1)}: ${why}`, {
      cause: error,
    });
  }
}

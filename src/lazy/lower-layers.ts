import type { MountInfo } from "../kernel/mount.ts";
import { LAZY_NAME } from "./protocol.ts";

/** What a layer of an overlay is called that was mounted with short names, since its paths are too long for the kernel. */
const SHORT_NAME = /\/overlay-[^/]+\/\d+$/;

/**
 * Whether an overlay has the folder of a served layer among its lower ones. The folder's end is compared alone, since the
 * kernel writes odd characters of a path in its own way: so the mounts to look at are those of one engine. True as well
 * where the kernel doesn't know the names any more.
 */
export function hasLower(
  { fstype, superOptions }: Pick<MountInfo, "fstype" | "superOptions">,
  folder: string,
): boolean {
  if (fstype !== "overlay") return false;
  const end = folder.slice(folder.lastIndexOf(`/${LAZY_NAME}/`));
  const lower = superOptions.filter((option) => /^lowerdir\+?=/.test(option)).flatMap((option) => option.split(":"));
  return lower.some((path) => path.endsWith(end) || SHORT_NAME.test(path));
}

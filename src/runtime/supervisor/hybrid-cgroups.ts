import { listMounts, MNT, makePrivate, unmount } from "../../kernel/mount.ts";
import { unshareMounts } from "../../kernel/namespace.ts";

const CGROUPS = "/sys/fs/cgroup";

/**
 * On a hybrid layout (v1 hierarchies with a cgroup2 mount beside them) crun 1.8 refuses to run. There, and only there,
 * the supervisor takes a mount namespace of its own in which that mount does not exist. Everything else propagates as
 * before: what the engine mounts beneath shared mounts is seen, so it makes its data and exec root shared first.
 * Node's pool threads stay outside: the supervisor uses synchronous file calls only.
 */
export function hideUnifiedHierarchy(): boolean {
  const mounts = listMounts(CGROUPS);
  const unified = mounts.filter((row) => row.fstype === "cgroup2" && row.target !== CGROUPS);
  if (unified.length === 0 || !mounts.some((row) => row.fstype === "cgroup")) return false;
  unshareMounts("unchanged");
  makePrivate(CGROUPS);
  for (const row of unified) unmount(row.target, MNT.DETACH);
  return true;
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { listMounts } from "./mount-table.ts";

export type CgroupLayout = "v1" | "hybrid" | "v2";

/** One mounted hierarchy. v1: `controllers` are co-mounted there (`cpu`, `cpuacct`, `name=systemd` …). */
export interface CgroupHierarchy {
  readonly version: 1 | 2;
  readonly mountPoint: string;
  /** The cgroup that is mounted there; not `/` where this process sees only a part of the hierarchy. */
  readonly root: string;
  readonly controllers: readonly string[];
}

const ROOT = "/sys/fs/cgroup";

/** A v1 mount's options name its controllers among other things. */
const V1_CONTROLLERS = new Set(
  "blkio cpu cpuacct cpuset debug devices freezer hugetlb memory misc net_cls net_prio perf_event pids rdma".split(" "),
);

let known: readonly CgroupHierarchy[] | undefined;

/** The hierarchies mounted under /sys/fs/cgroup; read once, since a running host does not change them. */
export function cgroupHierarchies(): readonly CgroupHierarchy[] {
  known ??= listMounts(ROOT)
    .filter((row) => row.fstype === "cgroup" || row.fstype === "cgroup2")
    .map((row) => ({
      version: row.fstype === "cgroup2" ? 2 : 1,
      mountPoint: row.target,
      root: row.root,
      controllers:
        row.fstype === "cgroup2"
          ? readFileSync(join(row.target, "cgroup.controllers"), "utf8").split(/\s+/).filter(Boolean)
          : row.superOptions.filter((option) => V1_CONTROLLERS.has(option) || option.startsWith("name=")),
    }));
  return known;
}

/** `hybrid`: v1 controllers with a v2 hierarchy beside them. */
export function cgroupLayout(): CgroupLayout {
  const versions = new Set(cgroupHierarchies().map((hierarchy) => hierarchy.version));
  if (!versions.has(1)) return "v2";
  return versions.has(2) ? "hybrid" : "v1";
}

/** The controllers that a container can be limited with. */
export function cgroupControllers(): readonly string[] {
  return cgroupHierarchies()
    .flatMap((hierarchy) => hierarchy.controllers)
    .filter((name) => !name.startsWith("name="));
}

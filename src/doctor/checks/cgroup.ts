import { type Check, failure, note, ok, warning } from "../check.ts";
import type { Files } from "../machine.ts";

const ROOT = "/sys/fs/cgroup";

/** What each controller limits, by the flag that needs it. */
const NEEDED: readonly (readonly [string, string])[] = [
  ["memory", "--memory"],
  ["cpu", "--cpus"],
  ["pids", "--pids-limit"],
  ["cpuset", "--cpuset-cpus"],
  ["io", "--device-read-bps"],
];

function isUnified(files: Files): boolean {
  return files.read(`${ROOT}/cgroup.controllers`) !== undefined;
}

function controllers(files: Files): readonly string[] {
  const unified = files.read(`${ROOT}/cgroup.controllers`);
  if (unified !== undefined) return unified.split(/\s+/).filter(Boolean);
  // cgroups(7): name, hierarchy, groups, enabled.
  const rows = (files.read("/proc/cgroups") ?? "").split("\n").slice(1);
  const enabled = rows.map((row) => row.split("\t")).filter((row) => row[3] === "1");
  return enabled.map(([name = ""]) => (name === "blkio" ? "io" : name));
}

const layout: Check = {
  id: "cgroup.layout",
  title: "control groups",
  run({ files }) {
    if (isUnified(files)) return ok("version 2");
    if (files.list(ROOT).length === 0) {
      return failure(
        "none are mounted: nothing of a container can be limited or ended as a whole",
        `Mount them: mount -t cgroup2 none ${ROOT}`,
      );
    }
    return note(
      "version 1: it works, but limits of memory and disk hold less well",
      "Start Linux with systemd.unified_cgroup_hierarchy=1.",
    );
  },
};

const limits: Check = {
  id: "cgroup.controllers",
  title: "limits",
  run({ files }) {
    const there = controllers(files);
    const missing = NEEDED.filter(([name]) => !there.includes(name));
    if (missing.length === 0) return ok(NEEDED.map(([name]) => name).join(", "));
    const flags = missing.map(([name, flag]) => `${name} (${flag})`).join(", ");
    return warning(`these are off: ${flags}`, "Start Linux with cgroup_enable=memory, or whatever it is that lacks.");
  },
};

const delegation: Check = {
  id: "cgroup.delegation",
  title: "groups of its own",
  run({ files }) {
    if (!isUnified(files)) return ok("with version 1 nothing is delegated");
    const there = controllers(files);
    const handed = files.read(`${ROOT}/cgroup.subtree_control`)?.split(/\s+/) ?? [];
    const kept = ["memory", "pids", "cpu"].filter((name) => there.includes(name) && !handed.includes(name));
    if (kept.length === 0) return ok("the controllers reach the containers' groups");
    return note(
      `${kept.join(", ")} not handed down yet: the first container with a limit does it`,
      `Hand them down: echo ${kept.map((name) => `+${name}`).join(" ")} > ${ROOT}/cgroup.subtree_control`,
    );
  },
};

export const cgroupChecks: readonly Check[] = [layout, limits, delegation];

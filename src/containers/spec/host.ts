import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, release } from "node:os";
import { join } from "node:path";
import { type CgroupLayout, cgroupHierarchies, cgroupLayout } from "../../kernel/cgroup-hierarchy.ts";

/** What this machine and the engine's own rights allow a container. */
export interface HostFacts {
  /** As Node names it: `x64`, `arm64` … */
  readonly architecture: string;
  readonly kernel: { readonly major: number; readonly minor: number };
  /** The engine's bounding set, `CAP_…`: nobody can be given more. */
  readonly capabilities: readonly string[];
  readonly cpus: number;
  /** Lists as the kernel writes them, e.g. `0-3,8`. */
  readonly cpuset: { readonly cpus: string; readonly mems: string };
  readonly cgroupLayout: CgroupLayout;
  readonly supports: LimitSupport;
  /** AppArmor is on; `docker-default` is used where it is loaded. */
  readonly apparmor: { readonly enabled: boolean; readonly defaultProfileLoaded: boolean };
  /** The engine's own score; it can't be lowered without CAP_SYS_RESOURCE. */
  readonly oomScoreAdj: number;
  readonly mayLowerOomScore: boolean;
  /** No process may have more open files than this, whoever asks. */
  readonly maxOpenFiles: number;
}

/** Which limits the kernel and the mounted hierarchies know. */
export interface LimitSupport {
  readonly memory: boolean;
  readonly swap: boolean;
  readonly reservation: boolean;
  readonly swappiness: boolean;
  readonly oomKillDisable: boolean;
  readonly pids: boolean;
  readonly cpu: boolean;
  readonly realtime: boolean;
  readonly cpuset: boolean;
  readonly blkioWeight: boolean;
  readonly blkioWeightDevice: boolean;
  readonly blkioThrottle: boolean;
}

/** In the kernel's order (capability.h): the index is the number. */
export const CAPABILITIES: readonly string[] = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
  "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN " +
  "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE " +
  "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);

let known: HostFacts | undefined;

/** Read once: none of it changes while the engine runs. */
export function hostFacts(): HostFacts {
  known ??= read();
  return known;
}

function read(): HostFacts {
  const status = readFileSync("/proc/self/status", "latin1");
  const set = (row: string) => BigInt(`0x${new RegExp(`^${row}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1] ?? "0"}`);
  const has = (bits: bigint) => (_: string, index: number) => (bits & (1n << BigInt(index))) !== 0n;
  const [major = 0, minor = 0] = release()
    .split(".", 2)
    .map((part) => Number.parseInt(part, 10));
  return {
    architecture: process.arch,
    kernel: { major, minor },
    capabilities: CAPABILITIES.filter(has(set("CapBnd"))),
    cpus: availableParallelism(),
    cpuset: readCpuset(),
    cgroupLayout: cgroupLayout(),
    supports: readSupport(),
    apparmor: {
      enabled: text("/sys/module/apparmor/parameters/enabled").startsWith("Y"),
      defaultProfileLoaded: /^docker-default \(/m.test(text("/sys/kernel/security/apparmor/profiles")),
    },
    oomScoreAdj: Number(text("/proc/self/oom_score_adj")),
    mayLowerOomScore: CAPABILITIES.filter(has(set("CapEff"))).includes("CAP_SYS_RESOURCE"),
    maxOpenFiles: Number(text("/proc/sys/fs/nr_open") || "1048576"),
  };
}

function folder(controller: string): string | undefined {
  return cgroupHierarchies().find((each) => each.controllers.includes(controller))?.mountPoint;
}

function readSupport(): LimitSupport {
  const v1 = cgroupLayout() !== "v2";
  const there = (controller: string, file?: string) => {
    const at = folder(controller);
    return at !== undefined && (file === undefined || existsSync(join(at, file)));
  };
  const io = v1 ? "blkio" : "io";
  return {
    memory: there("memory"),
    swap: v1 ? there("memory", "memory.memsw.limit_in_bytes") : there("memory"),
    reservation: there("memory"),
    swappiness: v1 && there("memory", "memory.swappiness"),
    oomKillDisable: v1 && there("memory", "memory.oom_control"),
    pids: there("pids"),
    cpu: there("cpu"),
    realtime: v1 && there("cpu", "cpu.rt_period_us"),
    cpuset: there("cpuset"),
    // v2 shows io.weight below the root only, where no container is yet.
    blkioWeight: v1 ? there(io, "blkio.weight") : there(io),
    blkioWeightDevice: v1 ? there(io, "blkio.weight_device") : there(io),
    blkioThrottle: there(io),
  };
}

function readCpuset(): { cpus: string; mems: string } {
  const at = folder("cpuset");
  const read = (name: string, fallback: string) =>
    (at === undefined ? "" : text(join(at, `${name}.effective`)) || text(join(at, name))) || text(fallback);
  return {
    cpus: read("cpuset.cpus", "/sys/devices/system/cpu/online").trim(),
    mems: read("cpuset.mems", "/sys/devices/system/node/online").trim(),
  };
}

function text(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // Whatever keeps us from reading it (not there, not allowed): the feature is not ours to use.
    return "";
  }
}

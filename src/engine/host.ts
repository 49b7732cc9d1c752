import { readdirSync, readFileSync } from "node:fs";
import { arch, release } from "node:os";
import { cgroupControllers, cgroupHierarchies, cgroupLayout } from "../kernel/cgroup-hierarchy.ts";

/** What the machine is and can do, as GET /info and GET /version tell it. */
export interface Host {
  readonly kernelVersion: string;
  readonly operatingSystem: string;
  readonly osVersion: string;
  /** As `uname -m` says it. */
  readonly machine: string;
  /** As Go says it. */
  readonly goArch: string;
  readonly cgroupVersion: "1" | "2";
  readonly controllers: ReadonlySet<string>;
  readonly swapLimit: boolean;
  readonly memoryBytes: number;
}

const ARCHITECTURES: Readonly<Record<string, readonly [machine: string, goArch: string]>> = {
  x64: ["x86_64", "amd64"],
  arm64: ["aarch64", "arm64"],
};

export function readHost(): Host {
  const system = new Map(
    read("/etc/os-release")
      .split("\n")
      .map((line) => line.split("="))
      .map(([key = "", ...value]) => [key, value.join("=").replace(/^"(.*)"$/, "$1")]),
  );
  const [machine, goArch] = ARCHITECTURES[arch()] ?? [arch(), arch()];
  const layout = cgroupLayout();
  return {
    kernelVersion: release(),
    operatingSystem: system.get("PRETTY_NAME") ?? "Linux",
    osVersion: system.get("VERSION_ID") ?? "",
    machine,
    goArch,
    cgroupVersion: layout === "v2" ? "2" : "1",
    controllers: new Set(cgroupControllers()),
    swapLimit: hasSwapLimit(),
    memoryBytes: Number(/^MemTotal:\s+(\d+) kB/m.exec(read("/proc/meminfo"))?.[1] ?? 0) * 1024,
  };
}

/** v1 shows the file at the root; v2 only in groups beneath it. */
function hasSwapLimit(): boolean {
  const memory = cgroupHierarchies().find(({ controllers }) => controllers.includes("memory"));
  if (memory === undefined) return false;
  if (memory.version === 1) return list(memory.mountPoint).includes("memory.memsw.limit_in_bytes");
  return list(memory.mountPoint).some((name) => list(`${memory.mountPoint}/${name}`).includes("memory.swap.max"));
}

export function isForwarding(): boolean {
  return read("/proc/sys/net/ipv4/ip_forward").trim() === "1";
}

export function openDescriptors(): number {
  return list("/proc/self/fd").length;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function list(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

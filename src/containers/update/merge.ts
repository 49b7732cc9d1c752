import type { ContainerUpdateRequest, HostConfig, Resources } from "../../api/container.ts";
import { GantryError } from "../../base/errors.ts";

/** Limits that an update changes where it has another value than none: 0, an empty text, null or an empty list. */
const CHANGEABLE = [
  "BlkioWeight",
  "BlkioWeightDevice",
  "BlkioDeviceReadBps",
  "BlkioDeviceWriteBps",
  "BlkioDeviceReadIOps",
  "BlkioDeviceWriteIOps",
  "CpuShares",
  "NanoCpus",
  "CpuPeriod",
  "CpuQuota",
  "CpuRealtimePeriod",
  "CpuRealtimeRuntime",
  "CpusetCpus",
  "CpusetMems",
  "Memory",
  "MemorySwap",
  "MemoryReservation",
  "MemorySwappiness",
  "OomKillDisable",
  "PidsLimit",
] as const satisfies readonly (keyof Resources)[];

/** What is part of the body but settled when a container is made. */
const FIXED = ["CgroupParent", "Devices", "DeviceCgroupRules", "DeviceRequests", "Ulimits"] as const;

export type Changeable = (typeof CHANGEABLE)[number];

/** The limits that a request changes. */
export function changedLimits(request: Resources): Partial<Pick<Resources, Changeable>> {
  return Object.fromEntries(CHANGEABLE.filter((name) => isGiven(request, name)).map((name) => [name, request[name]]));
}

/** A sentence for each wish that comes too late; a client that sends back what inspect shows gets none. */
export function lateWishes(request: Resources, present: HostConfig): string[] {
  return FIXED.filter(
    (name) => isGiven(request, name) && JSON.stringify(request[name]) !== JSON.stringify(present[name]),
  ).map((name) => `${name} of a container can't be changed after it was made. ${name} discarded.`);
}

/** The host config after an update. Throws `conflict`, in Docker's words, for what can't go with what is there. */
export function mergeUpdate(present: HostConfig, request: ContainerUpdateRequest): HostConfig {
  const change = changedLimits(request);
  const conflicts: readonly (readonly [wished: number, present: number, text: string])[] = [
    [request.NanoCpus, present.CpuPeriod, "Nano CPUs cannot be updated as CPU Period has already been set"],
    [request.NanoCpus, present.CpuQuota, "Nano CPUs cannot be updated as CPU Quota has already been set"],
    [request.CpuPeriod, present.NanoCpus, "CPU Period cannot be updated as NanoCPUs has already been set"],
    [request.CpuQuota, present.NanoCpus, "CPU Quota cannot be updated as NanoCPUs has already been set"],
  ];
  for (const [wished, set, text] of conflicts) if (wished > 0 && set > 0) refuse(`Conflicting options: ${text}`);
  if (request.Memory !== 0 && request.MemorySwap === 0 && request.Memory > present.MemorySwap) {
    refuse("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time");
  }
  const next = { ...present, ...change };
  if (next.Memory > 0 && next.MemorySwap > 0 && next.MemorySwap < next.Memory) {
    refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
  }
  if (next.CpuRealtimePeriod > 0 && next.CpuRealtimeRuntime > next.CpuRealtimePeriod) {
    refuse("cpu real-time runtime cannot be higher than cpu real-time period");
  }
  const { RestartPolicy } = request;
  if (RestartPolicy.Name === "") return next;
  if (present.AutoRemove && RestartPolicy.Name !== "no") {
    refuse("Restart policy cannot be updated because AutoRemove is enabled for the container");
  }
  return { ...next, RestartPolicy };
}

function refuse(text: string): never {
  throw new GantryError("conflict", text);
}

function isGiven(request: Resources, name: keyof Resources): boolean {
  const value = request[name];
  // Of a pointer in Docker's body every value counts, 0 and false too.
  if (name === "PidsLimit" || name === "MemorySwappiness" || name === "OomKillDisable") return value !== null;
  return Array.isArray(value) ? value.length > 0 : value !== 0 && value !== "" && value !== null;
}

import { GantryError } from "../../base/errors.ts";
import type { NamespaceType } from "../../oci/runtime-spec.ts";
import type { HostFacts } from "./host.ts";
import type { SpecInput } from "./input.ts";
import { isPrivate, joinedContainer } from "./modes.ts";

/** The namespaces to make (no path) and to join (path); one that isn't listed is the host's. */
export function buildNamespaces(
  input: Pick<SpecInput, "hostConfig" | "joined" | "netns">,
  host: Pick<HostFacts, "cgroupLayout">,
): { type: NamespaceType; path?: string }[] {
  const { hostConfig, joined = {} } = input;
  const rows: { type: NamespaceType; path?: string }[] = [{ type: "mount" }];
  const add = (type: NamespaceType, mode: string, path: string | undefined, own?: string) => {
    if (mode === "host") return;
    const container = joinedContainer(mode);
    if (container === undefined) rows.push(own === undefined ? { type } : { type, path: own });
    else if (path !== undefined) rows.push({ type, path });
    else throw new GantryError("conflict", `cannot join the ${type} namespace of container ${container}: not running`);
  };
  add("network", hostConfig.NetworkMode, joined.net, input.netns);
  add("uts", hostConfig.UTSMode, joined.uts);
  add("pid", hostConfig.PidMode, joined.pid);
  add("ipc", hostConfig.IpcMode, joined.ipc);
  if (cgroupnsMode(hostConfig.CgroupnsMode, host) === "private") rows.push({ type: "cgroup" });
  return rows;
}

/** Docker's default: of its own on cgroup v2, the host's on v1. */
export function cgroupnsMode(mode: string, host: Pick<HostFacts, "cgroupLayout">): string {
  return mode !== "" ? mode : host.cgroupLayout === "v2" ? "private" : "host";
}

/**
 * The namespaced sysctls: Docker's two defaults for a network namespace of the container's own, the domain name (the
 * runtime spec before 1.1 has no field for it), and the user's over them.
 */
export function buildSysctls(input: Pick<SpecInput, "hostConfig" | "config">): Record<string, string> {
  const { hostConfig, config } = input;
  return {
    ...(isPrivate(hostConfig.NetworkMode) && {
      "net.ipv4.ip_unprivileged_port_start": "0",
      "net.ipv4.ping_group_range": "0 2147483647",
    }),
    ...(config.Domainname !== "" && isPrivate(hostConfig.UTSMode) && { "kernel.domainname": config.Domainname }),
    ...hostConfig.Sysctls,
  };
}

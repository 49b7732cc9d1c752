import { isIP } from "node:net";
import type { PortMap } from "../../api/container.ts";
import { GantryError } from "../../base/errors.ts";

/** Checks `80/tcp` → bindings: ports, ranges and addresses, in Docker's words. */
export function checkPorts(ports: PortMap): void {
  for (const [port, bindings] of Object.entries(ports)) {
    if (!isPortKey(port)) throw invalid(port);
    for (const { HostIp, HostPort } of bindings ?? []) {
      if (HostIp !== "" && isIP(HostIp) === 0) throw new GantryError("invalid", `invalid IP address: ${HostIp}`);
      if (HostPort === "" || HostPort === "0") continue;
      const [, from, to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(HostPort) ?? [];
      if (!isPort(from) || !isPort(to) || Number(from) > Number(to)) throw invalid(HostPort);
    }
  }
}

/** True for `80`, `80/tcp`, `53/udp`, `9/sctp`. */
export function isPortKey(text: string): boolean {
  const [, number, protocol = "tcp"] = /^(\d{1,5})(?:\/(\w+))?$/.exec(text) ?? [];
  return isPort(number) && ["tcp", "udp", "sctp"].includes(protocol.toLowerCase());
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && Number(text) > 0 && Number(text) < 65_536;
}

function invalid(text: string): GantryError {
  return new GantryError("invalid", `invalid port specification: ${JSON.stringify(text)}`);
}

import type { PortMap } from "../api/container.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { forgetUdpFlows } from "../kernel/conntrack.ts";
import type { Firewall, Mapping } from "./firewall.ts";
import type { PortRequest } from "./network.ts";
import { readPortRequest } from "./port-wish.ts";
import type { HeldPort, HostPorts } from "./ports.ts";

/** The published ports of one container. */
export interface Publication {
  readonly containerIp: string;
  readonly held: readonly HeldPort[];
  readonly mappings: readonly Mapping[];
}

/** Publishes a container's ports: a held socket for each, and a mapping in the firewall where the kernel can lead. */
export class Publications {
  readonly #firewall: Firewall;
  readonly #ports: HostPorts;
  readonly #logger: Logger;
  /** Called before the first mapping of the host's loopback. */
  readonly #routeLoopback: () => void;

  constructor(ports: { firewall: Firewall; ports: HostPorts; logger: Logger; routeLoopback: () => void }) {
    this.#firewall = ports.firewall;
    this.#ports = ports.ports;
    this.#logger = ports.logger;
    this.#routeLoopback = ports.routeLoopback;
  }

  /** All of the request or, when it throws, nothing. Also says what inspect shows. */
  open(containerIp: string, request: PortRequest): { publication: Publication; shown: PortMap } {
    const { wishes, unpublished } = readPortRequest(request);
    const shown: PortMap = Object.fromEntries(unpublished.map((key) => [key, null]));
    const held: HeldPort[] = [];
    const mappings: Mapping[] = [];
    try {
      for (const wish of wishes) {
        const rows = this.#ports.hold(wish);
        held.push(...rows);
        for (const row of rows) {
          row.serve(containerIp, wish.containerPort);
          mappings.push(...mappingOf(row, containerIp, wish.containerPort));
        }
        const bindings = rows.map(({ hostIp, hostPort }) => ({ HostIp: hostIp, HostPort: String(hostPort) }));
        shown[wish.key] = [...(shown[wish.key] ?? []), ...bindings];
      }
      if (mappings.some(needsLoopback)) this.#routeLoopback();
      this.#firewall.add(mappings);
    } catch (error) {
      for (const port of held) port.close();
      throw error;
    }
    return { publication: { containerIp, held, mappings }, shown };
  }

  /**
   * Holds the ports again that an earlier engine published. One that can't be had is still led by the kernel. The
   * mappings are not in the firewall yet: see `install`.
   */
  reopen(containerIp: string, shown: PortMap): Publication {
    const held: HeldPort[] = [];
    const mappings: Mapping[] = [];
    for (const wish of readPortRequest({ bindings: shown, exposed: [], publishAll: false }).wishes) {
      const { protocol, containerPort, range } = wish;
      try {
        for (const port of this.#ports.hold(wish)) {
          held.push(port);
          port.serve(containerIp, containerPort);
        }
      } catch (error) {
        this.#logger.warn("a published port could not be held again", {
          address: containerIp,
          cause: messageOf(error),
        });
      }
      if (range === undefined) continue;
      for (const hostIp of wish.hostIps)
        mappings.push(...mappingOf({ protocol, hostIp, hostPort: range[0] }, containerIp, containerPort));
    }
    return { containerIp, held, mappings };
  }

  /** Makes the firewall's table anew with just these. */
  install(publications: readonly Publication[]): void {
    const mappings = publications.flatMap((publication) => publication.mappings);
    if (mappings.some(needsLoopback)) this.#routeLoopback();
    this.#firewall.install(mappings);
  }

  close({ containerIp, held, mappings }: Publication): void {
    for (const port of held) port.close();
    this.#firewall.remove(mappings);
    // Clients that keep sending would be led to whoever has the address next, or to nobody.
    if (mappings.some(({ protocol }) => protocol === "udp")) forgetUdpFlows(containerIp);
  }
}

function mappingOf(
  { protocol, hostIp, hostPort }: Pick<HeldPort, "protocol" | "hostIp" | "hostPort">,
  containerIp: string,
  containerPort: number,
): Mapping[] {
  // IPv6 is the proxy's: the container has no such address to lead to.
  if (hostIp.includes(":")) return [];
  return [{ protocol, hostIp, hostPort, containerIp, containerPort }];
}

function needsLoopback({ hostIp }: Mapping): boolean {
  return hostIp === "0.0.0.0" || hostIp.startsWith("127.");
}

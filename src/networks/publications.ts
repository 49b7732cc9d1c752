import type { PortMap } from "../api/container.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { forgetUdpFlows } from "../kernel/conntrack.ts";
import type { Firewall, Mapping } from "./firewall.ts";
import type { PortRequest } from "./network.ts";
import { readPortRequest } from "./port-wish.ts";
import type { HeldPort, HostPorts } from "./ports.ts";

/** Where a container's ports are published. */
export interface PublishedPlace {
  readonly containerIp: string;
  /** For bindings that name no address of the host; "" for all of them. */
  readonly hostBinding: string;
  /** Called before the first mapping of the host's loopback. */
  readonly routeLoopback: () => void;
}

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

  constructor(ports: { firewall: Firewall; ports: HostPorts; logger: Logger }) {
    this.#firewall = ports.firewall;
    this.#ports = ports.ports;
    this.#logger = ports.logger;
  }

  /** All of the request or, when it throws, nothing. Also says what inspect shows. */
  open(place: PublishedPlace, request: PortRequest): { publication: Publication; shown: PortMap } {
    const { containerIp } = place;
    const { wishes, unpublished } = readPortRequest(request, place.hostBinding);
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
      if (mappings.some(needsLoopback)) place.routeLoopback();
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
  reopen(place: PublishedPlace, shown: PortMap): Publication {
    const { containerIp } = place;
    const held: HeldPort[] = [];
    const mappings: Mapping[] = [];
    for (const wish of readPortRequest({ bindings: shown, exposed: [], publishAll: false }, "").wishes) {
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
    if (mappings.some(needsLoopback)) place.routeLoopback();
    return { containerIp, held, mappings };
  }

  /** Leads the same host ports to where the container is to be reached now. */
  move({ held, mappings }: Publication, place: PublishedPlace): Publication {
    const { containerIp } = place;
    const moved = mappings.filter(() => !containerIp.includes(":")).map((mapping) => ({ ...mapping, containerIp }));
    if (moved.some(needsLoopback)) place.routeLoopback();
    this.#firewall.remove(mappings);
    this.#firewall.add(moved);
    for (const port of held) port.redirect(containerIp);
    return { containerIp, held, mappings: moved };
  }

  /** The container is on no network that leads out; its host ports stay its own. */
  pause(publication: Publication): Publication {
    this.#firewall.remove(publication.mappings);
    return { ...publication, containerIp: "" };
  }

  /** Makes the firewall's table anew with just these. */
  install(publications: readonly Publication[]): void {
    this.#firewall.install(publications.flatMap((publication) => publication.mappings));
  }

  close({ containerIp, held, mappings }: Publication): void {
    for (const port of held) port.close();
    this.#firewall.remove(mappings);
    // Clients that keep sending would be led to whoever has the address next, or to nobody.
    if (containerIp !== "" && mappings.some(({ protocol }) => protocol === "udp")) forgetUdpFlows(containerIp);
  }
}

function mappingOf(
  { protocol, hostIp, hostPort }: Pick<HeldPort, "protocol" | "hostIp" | "hostPort">,
  containerIp: string,
  containerPort: number,
): Mapping[] {
  // IPv6 is the proxy's, be it the host's address or the container's.
  if (hostIp.includes(":") || containerIp.includes(":")) return [];
  return [{ protocol, hostIp, hostPort, containerIp, containerPort }];
}

function needsLoopback({ hostIp }: Mapping): boolean {
  return hostIp === "0.0.0.0" || hostIp.startsWith("127.");
}

import { readdirSync } from "node:fs";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import type { Endpoint } from "./endpoint.ts";
import type { LinkedPort, Openings } from "./firewall.ts";
import type { Members } from "./members.ts";
import type { ContainerLink } from "./network.ts";
import { readContainerPort } from "./port-wish.ts";
import type { NetworkRecord } from "./record.ts";
import { writeSysctl } from "./sandbox.ts";

export interface LinksPorts {
  readonly firewall: { add(openings: Openings): void; remove(openings: Openings): void };
  readonly members: Members;
  /** The default network, if its members don't reach each other. */
  readonly network: () => NetworkRecord | undefined;
  readonly logger: Logger;
}

/** One member's way to another, by the host. */
interface Way {
  readonly sandbox: string;
  /** CIDR of one address. */
  readonly destination: string;
  readonly gateway: string;
}

interface OpenLink {
  readonly from: string;
  readonly to: string;
  readonly openings: Openings;
  readonly ways: readonly Way[];
}

/**
 * What `--link` opens on a default network whose members don't reach each other: ports of the one that is linked to, for
 * the one that has the link, as long as both are there. The bridge keeps their ports apart, so that they are led by the
 * host, whose packet filter lets through what is in its set of linked ports, and replies.
 */
export class Links {
  readonly #ports: LinksPorts;
  /** By who has them. */
  readonly #wishes = new Map<string, readonly ContainerLink[]>();
  readonly #open = new Set<OpenLink>();

  constructor(ports: LinksPorts) {
    this.#ports = ports;
  }

  /** In place of the links that the container had. */
  set(containerId: string, links: readonly ContainerLink[]): void {
    this.#close((link) => link.from === containerId);
    if (links.length === 0) this.#wishes.delete(containerId);
    else this.#wishes.set(containerId, merged(links));
    for (const link of this.#wishes.get(containerId) ?? []) this.#make(containerId, link);
  }

  /** One is on the default network who was not. Others' links to it must not keep it from that. */
  joined(containerId: string): void {
    if (this.#wishes.size === 0 || this.#ports.network() === undefined) return;
    for (const [from, links] of this.#wishes) {
      for (const link of links) {
        if (from !== containerId && link.to !== containerId) continue;
        try {
          this.#make(from, link);
        } catch (error) {
          this.#ports.logger.warn("a link could not be opened", { from, to: link.to, cause: messageOf(error) });
        }
      }
    }
  }

  /** One leaves the default network; its links are opened again when it comes back. */
  left(containerId: string): void {
    this.#close(({ from, to }) => from === containerId || to === containerId);
  }

  /** One ends. */
  forget(containerId: string): void {
    this.left(containerId);
    this.#wishes.delete(containerId);
  }

  /** Of an engine that starts: `links` by container. What is open from now on, which the caller puts into the firewall. */
  adopt(links: ReadonlyMap<string, readonly ContainerLink[]>): LinkedPort[] {
    for (const [from, wishes] of links) if (wishes.length > 0) this.#wishes.set(from, merged(wishes));
    const found: LinkedPort[] = [];
    for (const [from, wishes] of this.#wishes) {
      for (const wish of wishes) {
        const link = this.#linkOf(from, wish);
        if (link === undefined) continue;
        this.#open.add(link);
        found.push(...(link.openings.linked ?? []));
        for (const way of link.ways) this.#attempt(() => lead(way), way);
      }
    }
    return found;
  }

  #make(from: string, wish: ContainerLink): void {
    if ([...this.#open].some((other) => other.from === from && other.to === wish.to)) return;
    const link = this.#linkOf(from, wish);
    if (link === undefined) return;
    this.#open.add(link);
    try {
      for (const way of link.ways) lead(way);
      this.#ports.firewall.add(link.openings);
    } catch (error) {
      this.#close((each) => each === link);
      throw error;
    }
  }

  #close(isMeant: (link: OpenLink) => boolean): void {
    for (const link of [...this.#open].filter(isMeant)) {
      this.#open.delete(link);
      this.#ports.firewall.remove(link.openings);
      for (const way of link.ways) if (!this.#isUsed(way)) this.#attempt(() => mislead(way), way);
    }
  }

  /** Two that are linked to each other use the same. */
  #isUsed({ sandbox, destination }: Way): boolean {
    return [...this.#open].some(({ ways }) =>
      ways.some((other) => other.sandbox === sandbox && other.destination === destination),
    );
  }

  /** The sandbox may be on its way out, and its ways with it. */
  #attempt(act: () => void, { sandbox, destination }: Way): void {
    try {
      act();
    } catch (error) {
      this.#ports.logger.debug("a link's route could not be changed", {
        sandbox,
        destination,
        cause: messageOf(error),
      });
    }
  }

  /** Undefined while one of the two is not there, or nothing is in their way. */
  #linkOf(from: string, { to, ports }: ContainerLink): OpenLink | undefined {
    const network = this.#ports.network();
    if (network === undefined || from === to) return undefined;
    const [one, other] = [from, to].map((id) => this.#placeOf(id, network));
    if (one === undefined || other === undefined) return undefined;
    const linked: LinkedPort[] = [];
    const ways: Way[] = [];
    for (const family of ["ipv4", "ipv6"] as const) {
      const gateway = network.bridge?.[family]?.gateway;
      const [here, there] = [one, other].map(({ endpoint }) => endpoint.address[`${family}Address`]);
      if (!gateway || !here || !there) continue;
      const whole = family === "ipv4" ? 32 : 128;
      ways.push(
        { sandbox: one.sandbox, destination: `${there}/${whole}`, gateway },
        { sandbox: other.sandbox, destination: `${here}/${whole}`, gateway },
      );
      linked.push(...ports.map((text) => ({ from: here, to: there, ...readContainerPort(text) })));
    }
    return { from, to, openings: { mappings: [], openPorts: [], linked }, ways };
  }

  #placeOf(containerId: string, { id }: NetworkRecord): { endpoint: Endpoint; sandbox: string } | undefined {
    const member = this.#ports.members.get(containerId);
    const endpoint = member?.endpoints.get(id);
    if (member?.sandbox === undefined || endpoint === undefined) return undefined;
    return { endpoint, sandbox: member.sandbox };
  }
}

/** One for each other container, with all ports. */
function merged(links: readonly ContainerLink[]): ContainerLink[] {
  const all = new Map<string, Set<string>>();
  for (const { to, ports } of links) all.set(to, (all.get(to) ?? new Set()).union(new Set(ports)));
  return Array.from(all, ([to, ports]) => ({ to, ports: [...ports] }));
}

/** The host would tell the sandbox of a shorter way, which the bridge does not let it take. */
function lead({ sandbox, destination, gateway }: Way): void {
  inNetns(sandbox, () => {
    for (const family of ["ipv4", "ipv6"]) {
      for (const name of namesIn(`/proc/sys/net/${family}/conf`)) {
        writeSysctl(`net/${family}/conf/${name}/accept_redirects`, "0");
      }
    }
    using netlink = new Netlink();
    netlink.replaceRoute({ destination, gateway });
  });
}

function mislead({ sandbox, destination, gateway }: Way): void {
  inNetns(sandbox, () => {
    using netlink = new Netlink();
    netlink.deleteRoute({ destination, gateway });
  });
}

/** None where the kernel has no IPv6. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

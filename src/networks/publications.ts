import { isIPv4 } from "node:net";
import type { PortMap } from "../api/container.ts";
import { Breath } from "../base/breath.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { forgetUdpFlows } from "../kernel/conntrack.ts";
import type { Firewall, GatewayMode, Mapping, Openings, OpenPort, Protocol } from "./firewall.ts";
import type { PortRequest } from "./network.ts";
import { processHolding } from "./port-holder.ts";
import { type PortWish, readPortRequest } from "./port-wish.ts";
import { type HeldPort, type HostPorts, takenOf } from "./ports.ts";

/** Where a container's ports are published. */
export interface PublishedPlace {
  /** The container's addresses; "" for a family that it has none of. */
  readonly ipv4: string;
  readonly ipv6: string;
  readonly modes: { readonly ipv4: GatewayMode; readonly ipv6: GatewayMode };
  /** The network has links of the host that it trusts. */
  readonly hasTrusted: boolean;
  /** For bindings that name no address of the host; "" for all of them. */
  readonly hostBinding: string;
  /** Called before the first mapping of the host's loopback. */
  readonly routeLoopback: () => void;
  /** What others are told of who has the port. */
  readonly owner: () => string;
}

/** One address of the host that one of the container's ports is published at. */
interface Claim {
  readonly protocol: Protocol;
  readonly hostIp: string;
  /** 0 for one that no port of the host leads to: the container's own address is called. */
  readonly hostPort: number;
  readonly containerPort: number;
}

/** The published ports of one container. */
export interface Publication {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly held: readonly HeldPort[];
  readonly claims: readonly Claim[];
  readonly openings: Openings;
}

/** Publishes a container's ports: a held socket for each, and an opening in the firewall where the kernel can lead. */
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
  async open(
    place: PublishedPlace,
    request: PortRequest,
  ): Promise<{ readonly publication: Publication; readonly shown: PortMap }> {
    const { wishes, unpublished } = readPortRequest(request, place.hostBinding);
    const shown: PortMap = Object.fromEntries(unpublished.map((key) => [key, null]));
    const held: HeldPort[] = [];
    const claims: Claim[] = [];
    const breath = new Breath();
    try {
      for (const wish of wishes) {
        const rows = this.#claim(place, wish, held);
        claims.push(...rows);
        const bindings = rows.map(({ hostIp, hostPort }) => ({
          HostIp: hostIp,
          HostPort: hostPort === 0 ? "" : String(hostPort),
        }));
        const before = shown[wish.key];
        if (before) before.push(...bindings);
        else shown[wish.key] = bindings;
        await breath.take();
      }
      const openings = openingsOf(claims, place);
      if (openings.mappings.some(needsLoopback)) place.routeLoopback();
      this.#firewall.add(openings);
      return { publication: { ipv4: place.ipv4, ipv6: place.ipv6, held, claims, openings }, shown };
    } catch (error) {
      for (const port of held) port.close();
      throw await namingProcess(error);
    }
  }

  /**
   * Holds the ports again that an earlier engine published. One that can't be had is still led by the kernel. The
   * openings are not in the firewall yet: see `install`.
   */
  reopen(place: PublishedPlace, shown: PortMap): Publication {
    const held: HeldPort[] = [];
    const claims: Claim[] = [];
    const { wishes } = readPortRequest({ bindings: shown, exposed: [], publishAll: false }, "");
    for (const wish of joined(wishes)) {
      try {
        claims.push(...this.#claim(place, wish, held));
      } catch (error) {
        this.#logger.warn("a published port could not be held again", {
          container: place.owner(),
          cause: messageOf(error),
        });
        const { protocol, containerPort, range } = wish;
        if (range === undefined) continue;
        for (const hostIp of wish.hostIps) claims.push({ protocol, hostIp, hostPort: range[0], containerPort });
      }
    }
    const openings = openingsOf(claims, place);
    if (openings.mappings.some(needsLoopback)) place.routeLoopback();
    return { ipv4: place.ipv4, ipv6: place.ipv6, held, claims, openings };
  }

  /** Leads the same host ports to where the container is to be reached now. */
  move({ held, claims, openings }: Publication, place: PublishedPlace): Publication {
    const moved = openingsOf(claims, place);
    if (moved.mappings.some(needsLoopback)) place.routeLoopback();
    this.#firewall.remove(openings);
    this.#firewall.add(moved);
    for (const port of held) port.redirect(place.ipv4 || place.ipv6);
    return { ipv4: place.ipv4, ipv6: place.ipv6, held, claims, openings: moved };
  }

  /** The container is on no network that leads out; its host ports stay its own. */
  pause(publication: Publication): Publication {
    this.#firewall.remove(publication.openings);
    return { ...publication, ipv4: "", ipv6: "", openings: { mappings: [], openPorts: [] } };
  }

  /** Makes the firewall's tables anew with just these. */
  install(publications: readonly Publication[]): void {
    this.#firewall.install({
      mappings: publications.flatMap(({ openings }) => openings.mappings),
      openPorts: publications.flatMap(({ openings }) => openings.openPorts),
    });
  }

  close({ ipv4, ipv6, held, openings }: Publication): void {
    for (const port of held) port.close();
    this.#firewall.remove(openings);
    // Clients that keep sending would be led to whoever has the address next, or to nobody.
    const led = openings.mappings.filter(({ protocol }) => protocol === "udp").map(({ containerIp }) => containerIp);
    for (const address of [ipv4, ipv6]) if (led.includes(address)) forgetUdpFlows(address);
  }

  /** Holds what of a wish has a port of the host, into `held` too. */
  #claim(place: PublishedPlace, wish: PortWish, held: HeldPort[]): Claim[] {
    const { protocol, containerPort } = wish;
    const isMapped = (hostIp: string) => modeAt(place, hostIp).startsWith("nat");
    const hostIps = wish.hostIps.filter(isMapped);
    const optionalIps = wish.optionalIps.filter(isMapped);
    const rows =
      hostIps.length + optionalIps.length === 0 ? [] : this.#ports.hold({ ...wish, hostIps, optionalIps }, place.owner);
    for (const row of rows) {
      held.push(row);
      row.serve(place.ipv4 || place.ipv6, containerPort);
    }
    const mapped = rows.flatMap((row) =>
      row.hostIps.map((hostIp) => ({ protocol, hostIp, hostPort: row.hostPort, containerPort })),
    );
    const open = [...wish.hostIps, ...wish.optionalIps]
      .filter((hostIp) => modeAt(place, hostIp) === "routed" && addressFor(place, hostIp) !== "")
      .map((hostIp) => ({ protocol, hostIp, hostPort: 0, containerPort }));
    return [...mapped, ...open];
  }
}

/** The container's address of the family of one of the host's. */
function addressFor({ ipv4, ipv6 }: PublishedPlace, hostIp: string): string {
  return isIPv4(hostIp) ? ipv4 : ipv6;
}

/** Of a family that the container doesn't have a call is carried over to the other. */
function modeAt(place: PublishedPlace, hostIp: string): GatewayMode {
  const isFour = isIPv4(hostIp);
  const family = addressFor(place, hostIp) === "" ? !isFour : isFour;
  return family ? place.modes.ipv4 : place.modes.ipv6;
}

function openingsOf(claims: readonly Claim[], place: PublishedPlace): Openings {
  const mappings: Mapping[] = [];
  const openPorts = new Map<string, OpenPort>();
  for (const { protocol, hostIp, hostPort, containerPort } of claims) {
    const containerIp = addressFor(place, hostIp);
    if (containerIp === "") continue;
    const mode = modeAt(place, hostIp);
    if (mode === "routed" || place.hasTrusted) {
      const from = mode === "routed" ? "everywhere" : "trusted";
      openPorts.set(`${protocol} ${containerIp} ${containerPort}`, { protocol, containerIp, containerPort, from });
    }
    // The kernel leads nothing from ::1 to another link.
    if (hostPort === 0 || hostIp === "::1" || !mode.startsWith("nat")) continue;
    mappings.push({ protocol, hostIp, hostPort, containerIp, containerPort });
  }
  return { mappings, openPorts: [...openPorts.values()] };
}

/** All addresses of both families are one wish again, as when they were published. */
function joined(wishes: readonly PortWish[]): PortWish[] {
  const open = new Map<string, PortWish>();
  const all: PortWish[] = [];
  for (const wish of wishes) {
    const [hostIp] = wish.hostIps;
    const key = `${wish.key} ${wish.range?.join("-")}`;
    const other = open.get(key);
    if (hostIp === "::" && other !== undefined) {
      open.delete(key);
      all.splice(all.indexOf(other), 1, { ...other, optionalIps: ["::"] });
      continue;
    }
    if (hostIp === "0.0.0.0") open.set(key, wish);
    all.push(wish);
  }
  return all;
}

function needsLoopback({ hostIp }: Mapping): boolean {
  return hostIp === "0.0.0.0" || hostIp.startsWith("127.");
}

/** Says which process of the host has a port, if it is one that has it and that can be known. */
async function namingProcess(error: unknown): Promise<unknown> {
  const port = takenOf(error);
  if (!(error instanceof GantryError) || port === undefined || port.container !== undefined) return error;
  const holder = await processHolding(port.protocol, port.hostIp, port.hostPort);
  return holder === undefined
    ? error
    : new GantryError(error.kind, `${error.message}: ${holder} has it`, { cause: error.cause });
}

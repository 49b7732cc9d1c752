import type { PortMap } from "../api/container.ts";
import { Breath } from "../base/breath.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { forgetUdpFlows } from "../kernel/conntrack.ts";
import type { NetworkDriver } from "./driver.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Firewall, LinkedPort, Mapping, Openings, OpenPort } from "./firewall.ts";
import type { Membership } from "./members.ts";
import type { PortRequest } from "./network.ts";
import { processHolding } from "./port-holder.ts";
import { type PortWish, readPortRequest } from "./port-wish.ts";
import { type HeldPort, type HostPorts, takenOf } from "./ports.ts";
import type { Claim, Publication } from "./publication.ts";
import { addressFor, modeAt, type PublishedPlace, placeOf, publishingOf } from "./published-place.ts";
import type { NetworkRecord } from "./record.ts";

export interface PublicationsPorts {
  readonly firewall: Firewall;
  readonly ports: HostPorts;
  readonly logger: Logger;
  readonly driverOf: (network: NetworkRecord) => NetworkDriver;
}

/**
 * Publishes containers' ports: a held socket for each, and an opening in the firewall where the kernel can lead. What a
 * container has of it stands in its membership.
 */
export class Publications {
  readonly #firewall: Firewall;
  readonly #ports: HostPorts;
  readonly #logger: Logger;
  readonly #driverOf: (network: NetworkRecord) => NetworkDriver;

  constructor({ firewall, ports, logger, driverOf }: PublicationsPorts) {
    this.#firewall = firewall;
    this.#ports = ports;
    this.#logger = logger;
    this.#driverOf = driverOf;
  }

  /** All of the request in place of what there was or, when it throws, nothing. Resolves with what inspect shows. */
  async open(member: Membership, request: PortRequest): Promise<PortMap> {
    const endpoint = publishingOf(member);
    if (endpoint === undefined) return {};
    this.close(member);
    try {
      const { publication, shown } = await this.#publish(placeOf(member, endpoint, this.#driverOf), request);
      member.published = publication;
      return shown;
    } catch (error) {
      throw publishFailure(endpoint, await namingProcess(error));
    }
  }

  /**
   * Holds the ports again that an earlier engine published. One that can't be had is still led by the kernel. The
   * openings are not in the firewall yet: see `install`.
   */
  reopen(member: Membership, shown: PortMap): void {
    const endpoint = publishingOf(member);
    if (endpoint === undefined || member.published !== undefined) return;
    const place = placeOf(member, endpoint, this.#driverOf);
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
    member.published = { ipv4: place.ipv4, ipv6: place.ipv6, held, claims, openings };
  }

  /** Leads the same host ports to the endpoint that the default route goes through now. */
  move(member: Membership): void {
    const { published } = member;
    if (published === undefined) return;
    const endpoint = publishingOf(member);
    if (endpoint === undefined) {
      // On no network that leads out; its host ports stay its own.
      this.#firewall.remove(published.openings);
      member.published = { ...published, ipv4: "", ipv6: "", openings: { mappings: [], openPorts: [] } };
      return;
    }
    const place = placeOf(member, endpoint, this.#driverOf);
    if (place.ipv4 === published.ipv4 && place.ipv6 === published.ipv6) return;
    const { held, claims } = published;
    const openings = openingsOf(claims, place);
    if (openings.mappings.some(needsLoopback)) place.routeLoopback();
    this.#firewall.remove(published.openings);
    this.#firewall.add(openings);
    for (const port of held) port.redirect(place.ipv4 || place.ipv6);
    member.published = { ipv4: place.ipv4, ipv6: place.ipv6, held, claims, openings };
  }

  /** Makes the firewall's tables anew with just these, and what links open. */
  install(publications: readonly Publication[], linked: readonly LinkedPort[]): void {
    this.#firewall.install({
      mappings: publications.flatMap(({ openings }) => openings.mappings),
      openPorts: publications.flatMap(({ openings }) => openings.openPorts),
      linked,
    });
  }

  close(member: Membership): void {
    if (member.published === undefined) return;
    const { ipv4, ipv6, held, openings } = member.published;
    member.published = undefined;
    for (const port of held) port.close();
    this.#firewall.remove(openings);
    // Clients that keep sending would be led to whoever has the address next, or to nobody.
    const led = openings.mappings.filter(({ protocol }) => protocol === "udp").map(({ containerIp }) => containerIp);
    for (const address of [ipv4, ipv6]) if (led.includes(address)) forgetUdpFlows(address);
  }

  async #publish(
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
      throw error;
    }
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

function publishFailure({ id, containerName }: Endpoint, cause: unknown): GantryError {
  const kind = cause instanceof GantryError ? cause.kind : "internal";
  const text = `driver failed programming external connectivity on endpoint ${containerName} (${id}): ${messageOf(cause)}`;
  return new GantryError(kind, text, { cause });
}

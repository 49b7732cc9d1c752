import { randomBytes } from "node:crypto";
import { GantryError, hasCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { inNetns } from "../kernel/namespace.ts";
import { type IpvlanKind, type Link, type MacvlanKind, Netlink } from "../kernel/netlink.ts";
import { NetworkAddresses, subnetAddresses } from "./addresses.ts";
import {
  type EndpointAddress,
  type EndpointWish,
  type NetworkDriver,
  type Plugged,
  type WayOut,
  wayThrough,
} from "./driver.ts";
import { readInsidePrefix, readMtu } from "./driver-options.ts";
import { readEndpointOptions } from "./endpoint-options.ts";
import { bornInside, insideOf } from "./inside.ts";
import { macOf } from "./ipam.ts";
import { readIpvlan } from "./ipvlan.ts";
import { readMacvlan } from "./macvlan.ts";
import { ensureParent, removeParent } from "./parent.ts";
import { type NetworkRecord, networkLabel, type SharedRecord } from "./record.ts";
import { configureInside } from "./sandbox.ts";
import type { Family } from "./subnet.ts";

export interface SharingPorts {
  readonly netlink: Netlink;
  readonly engineId: string;
  readonly record: NetworkRecord & { readonly shared: SharedRecord };
  /** Another network of this engine has the same parent. */
  readonly isParentShared: () => boolean;
}

/**
 * Containers on the wire of one of the host's links, by a macvlan or ipvlan each. The link is born in the sandbox and
 * goes with it; its group says whose it is.
 */
export class SharingDriver implements NetworkDriver {
  readonly hostBinding = "";
  readonly firewall = undefined;
  readonly #ports: SharingPorts;
  readonly #kind: MacvlanKind | IpvlanKind;
  readonly #addresses: NetworkAddresses;
  readonly #isCutOff: boolean;

  /** The parent is there from now on. */
  constructor(ports: SharingPorts) {
    this.#ports = ports;
    const { record } = ports;
    this.#kind = kindOf(record);
    this.#isCutOff = record.internal || record.shared.isAlone;
    this.#addresses = new NetworkAddresses({
      ipv4: record.shared.ipv4.map(subnetAddresses),
      ipv6: record.shared.ipv6.map(subnetAddresses),
      network: networkLabel(record),
      isCutOff: this.#isCutOff || this.#routesItself,
    });
    this.#parent();
  }

  join(endpointId: string, sandbox: string | undefined, wish: EndpointWish): EndpointAddress {
    const { netlink, record } = this.#ports;
    const { kind } = this.#kind;
    if (sandbox === undefined) throw new GantryError("internal", `cannot join a ${kind} network: no sandbox was made`);
    const options = readEndpointOptions(wish.settings.DriverOpts);
    const parent = this.#parent();
    const given = this.#addresses.take(wish);
    const address = { ...given, macAddress: this.#macOf(given.ipv4Address || given.ipv6Address, parent, wish) };
    const group = endpointGroup(endpointId);
    try {
      const mtu = readMtu(record.options) || undefined;
      const isPassed = this.#kind.mode === "passthru";
      const mac = isPassed || address.macAddress === "" ? undefined : address.macAddress;
      const named = { chosen: options.ifname, prefix: readInsidePrefix(record.options), likely: wish.unnamed };
      const inside = bornInside(sandbox, named, (name, netnsFd) => {
        netlink.createSharing({ name, parent: parent.index, netnsFd, group, mtu, mac, kind: this.#kind });
      });
      failpoint("networks.join.linked");
      configureInside(sandbox, inside, { ...insideOf(this, endpointId, address, wish), sysctls: options.sysctls });
      failpoint("networks.join.configured");
    } catch (error) {
      withLinks(sandbox, { group }, ({ index }, inside) => inside.deleteLink(index));
      this.#addresses.give(address, wish.owner);
      throw this.#explain(error, parent);
    }
    return address;
  }

  leave({ id, address, owner, sandbox }: Plugged): void {
    // Down, it has left its parent's table, so that another may have its addresses before the kernel has deleted it.
    // A parent that is passed through is free only when it has.
    const isPassed = this.#kind.mode === "passthru";
    withLinks(sandbox, this.#markOf(id), ({ index }, inside) => {
      if (isPassed) inside.deleteLink(index);
      else inside.changeLink(index, { up: false });
    });
    this.#addresses.give(address, owner);
  }

  async unplug({ id, address, owner, sandbox }: Plugged): Promise<void> {
    const going: Promise<void>[] = [];
    withLinks(sandbox, this.#markOf(id), ({ index }, inside) => {
      inside.changeLink(index, { up: false });
      going.push(Netlink.deleteLinkAside(index).catch(unlessGone));
    });
    this.#addresses.give(address, owner);
    await Promise.all(going);
  }

  adopt(_endpointId: string, address: EndpointAddress): void {
    this.#addresses.hold(address);
  }

  wayOut(endpointId: string, address: EndpointAddress, family: Family): WayOut | undefined {
    if (this.#isCutOff) return undefined;
    if (!this.#routesItself) return wayThrough(address, family);
    const own = family === 4 ? address.ipv4Address : address.ipv6Address;
    return own === "" ? undefined : { family, group: endpointGroup(endpointId) };
  }

  /** Its links are in the sandboxes: see `removeStrays`. */
  prune(): void {}

  /** Nothing is published on the wire of others. */
  routeLoopback(): void {}

  async close(): Promise<void> {
    const { netlink, record, engineId, isParentShared } = this.#ports;
    if (!isParentShared()) await removeParent(netlink, record.shared.parent, engineId);
  }

  #markOf(endpointId: string): Mark {
    const { netlink, record } = this.#ports;
    return { group: endpointGroup(endpointId), parent: netlink.link(record.shared.parent)?.index };
  }

  #parent(): Link {
    const { netlink, record, engineId } = this.#ports;
    return ensureParent(netlink, record.shared, engineId);
  }

  /** In these modes the parent's host routes for its containers: what they send needs no router. */
  get #routesItself(): boolean {
    return this.#kind.mode === "l3" || this.#kind.mode === "l3s";
  }

  #macOf(address: string, parent: Link, { settings }: EndpointWish): string {
    if (this.#kind.kind === "ipvlan") return parent.mac;
    if (this.#kind.mode === "passthru") {
      if (!settings.MacAddress) return parent.mac;
      const why = `it has its parent's, ${parent.mac}`;
      throw new GantryError("invalid", `a macvlan in mode passthru takes no other hardware address: ${why}`);
    }
    if (settings.MacAddress) return settings.MacAddress;
    return address === ""
      ? `02:42:${randomBytes(4)
          .toString("hex")
          .replace(/(..)(?=.)/g, "$1:")}`
      : macOf(address);
  }

  #explain(error: unknown, { name }: Link): unknown {
    const { kind } = this.#kind;
    if (hasCode(error, "EBUSY", "EINVAL") && !(error instanceof GantryError)) {
      const why = "it is a bridge's port, is passed through, or carries links of another kind";
      return new GantryError("conflict", `cannot make a ${kind} on ${name}: ${why}`, { cause: error });
    }
    if (hasCode(error, "EADDRINUSE")) {
      return new GantryError("conflict", `cannot bring up a ${kind} on ${name}: another has its hardware address`, {
        cause: error,
      });
    }
    return error;
  }
}

export function kindOf({ driver, options }: Pick<NetworkRecord, "driver" | "options">): MacvlanKind | IpvlanKind {
  return driver === "macvlan" ? readMacvlan(options) : readIpvlan(options);
}

/** Deletes links inside that lie on a wire outside and belong to none of these endpoints. */
export function removeStrays(sandbox: string, endpointIds: Iterable<string>): void {
  const kept = new Set(Array.from(endpointIds, endpointGroup));
  inNetns(sandbox, () => {
    using inside = new Netlink();
    for (const link of inside.links()) {
      if (isOfWire(link) && link.group !== 0 && !kept.has(link.group)) inside.deleteLink(link.index);
    }
  });
}

/** The container may make links of these kinds itself, but on its own links only. */
function isOfWire({ kind, parentIsElsewhere }: Link): boolean {
  return (kind === "macvlan" || kind === "ipvlan") && parentIsElsewhere;
}

/** What an endpoint's link inside is known by: its group, or if the container changed that, its parent. */
interface Mark {
  readonly group: number;
  readonly parent?: number | undefined;
}

/** By which an endpoint's link is known; never 0. */
function endpointGroup(endpointId: string): number {
  return (Number.parseInt(endpointId.slice(0, 8), 16) & 0x7fff_ffff) | 1;
}

/** Nothing happens if the sandbox or the link is gone. */
function withLinks(sandbox: string | undefined, mark: Mark, act: (link: Link, inside: Netlink) => void): void {
  if (sandbox === undefined) return;
  try {
    inNetns(sandbox, () => {
      using inside = new Netlink();
      const wires = inside.links().filter(isOfWire);
      const own = wires.filter(({ group }) => group === mark.group);
      const found = own.length > 0 ? own : wires.filter(({ parent }) => parent === mark.parent);
      for (const link of found) act(link, inside);
    });
  } catch (error) {
    unlessGone(error);
  }
}

/** EINVAL: the file is there, but no namespace is bound on it. */
function unlessGone(error: unknown): void {
  if (!hasCode(error, "ENODEV", "ENOENT", "EINVAL")) throw error;
}

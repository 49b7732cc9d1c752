import { createHash } from "node:crypto";
import { GantryError, hasCode } from "../base/errors.ts";
import type { Link, Netlink } from "../kernel/netlink.ts";
import { type AddressWish, routerComplaint } from "./default-addresses.ts";
import type { AddressesRecord, BridgeRecord } from "./record.ts";
import { allowIPv6, writeSysctl } from "./sandbox.ts";
import {
  type AddressPoolConfig,
  containsSubnet,
  familyOf,
  formatAddress,
  formatSubnet,
  freeSubnets,
  overlaps,
  parseSubnet,
  type Subnet,
} from "./subnet.ts";
import { takenSubnets } from "./taken.ts";

export interface DefaultBridgeWish {
  /** Unique to the data root. */
  readonly engineId: string;
  /** The interface's name, if no other engine has it. */
  readonly bridgeName: string;
  /** What a family has no choice of is taken from the pools. */
  readonly ipv4: AddressWish;
  /** None: the bridge has no IPv6. */
  readonly ipv6: AddressWish | undefined;
  readonly pools: readonly AddressPoolConfig[];
  readonly mtu: number;
  /** What it was in an earlier life; kept if it is still free. */
  readonly remembered: BridgeRecord | undefined;
  /** Of this engine's other networks. */
  readonly reserved: readonly Subnet[];
}

export interface DefaultBridge {
  readonly index: number;
  readonly interface: string;
  readonly ipv4: AddressesRecord;
  readonly ipv6: AddressesRecord | undefined;
}

/**
 * Finds the engine's default bridge or makes it. The kernel is the referee between engines: a name is ours if creating
 * it succeeds, a subnet if nothing else overlaps it after our address is on.
 */
export function ensureDefaultBridge(netlink: Netlink, wish: DefaultBridgeWish): DefaultBridge {
  for (const each of [wish.ipv4, wish.ipv6]) if (each !== undefined) refuseReserved(each, wish);
  const { link, isMade } = ensureLink(netlink, wish);
  try {
    const ipv4 = ensureSubnet(netlink, link, wish.ipv4, wish);
    if (wish.ipv6 !== undefined) allowIPv6(link.name);
    else if (wish.remembered?.ipv6 !== undefined) writeSysctl(`net/ipv6/conf/${link.name}/disable_ipv6`, "1");
    const ipv6 = wish.ipv6 && ensureSubnet(netlink, link, wish.ipv6, wish);
    netlink.changeLink(link.index, { up: true });
    return { index: link.index, interface: link.name, ipv4, ipv6 };
  } catch (error) {
    if (isMade) netlink.deleteLink(link.index);
    throw error;
  }
}

/** A bridge is known again by its hardware address, which it has from its first instant on. */
export function bridgeMac(...owner: readonly string[]): string {
  const digest = createHash("sha256")
    .update(`gantry bridge ${owner.join(" ")}`)
    .digest();
  return `02:42:${Array.from(digest.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
}

function ensureLink(netlink: Netlink, wish: DefaultBridgeWish): { link: Link; isMade: boolean } {
  const mac = bridgeMac(wish.engineId);
  const own = () => netlink.links().find((link) => link.kind === "bridge" && link.mac === mac);
  const found = own();
  if (found !== undefined) return { link: found, isMade: false };
  const derived = `gantry-${createHash("sha256").update(wish.engineId).digest("hex").slice(0, 8)}`;
  for (const name of [wish.remembered?.interface, wish.bridgeName, derived]) {
    if (name === undefined) continue;
    try {
      netlink.createBridge(name, { mac, mtu: wish.mtu });
    } catch (error) {
      if (hasCode(error, "EEXIST")) continue;
      throw error;
    }
    // Before it is up, so that the kernel gives it no addresses of its own.
    writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
    const made = own();
    if (made !== undefined) return { link: made, isMade: true };
  }
  throw new GantryError("conflict", `cannot make a bridge: the names ${wish.bridgeName} and ${derived} are taken`);
}

/** An address of the bridge's, and the subnet that lies around it. */
interface Place {
  readonly subnet: Subnet;
  readonly gateway: string;
}

function ensureSubnet(netlink: Netlink, link: Link, wish: AddressWish, context: DefaultBridgeWish): AddressesRecord {
  const { own, range, router } = wish;
  const { subnet, gateway } = ensurePlace(netlink, link, wish, context);
  const complaint = routerComplaint(wish, subnet);
  if (complaint !== undefined) throw complaint;
  const isWhole = range === undefined || (own === undefined && formatSubnet(range) === formatSubnet(subnet));
  return {
    subnet: formatSubnet(subnet),
    gateway,
    ...(isWhole ? {} : { range: formatSubnet(range) }),
    ...(router === undefined ? {} : { router }),
  };
}

function ensurePlace(netlink: Netlink, link: Link, wish: AddressWish, context: DefaultBridgeWish): Place {
  const { family, own } = wish;
  const isOwn = (row: Place) =>
    own !== undefined && row.gateway === own.gateway && formatSubnet(row.subnet) === formatSubnet(own.subnet);
  const present = netlink
    .addresses(link.index)
    .filter(({ address }) => familyOf(address) === family && !address.startsWith("fe80:"))
    .map((row) => ({ row, gateway: row.address, subnet: parseSubnet(`${row.address}/${row.prefix}`) }));
  const current = present.find((place) => (own === undefined ? suits(place, wish) : isOwn(place)));
  if (current !== undefined) return current;
  for (const { row } of present) netlink.deleteAddress(row);
  const put = ({ subnet, gateway }: Place) => {
    const row = { index: link.index, address: gateway, prefix: subnet.prefix };
    netlink.addAddress(row);
    return row;
  };
  const fixed = own ?? rangeAlone(wish, context);
  if (fixed !== undefined) {
    put(fixed);
    return fixed;
  }
  for (const place of candidates(netlink, link.index, wish, context)) {
    const row = put(place);
    // Another engine may have taken the same at the same time: whoever sees the other goes on to the next.
    if (!takenSubnets(netlink, link.index).some((other) => overlaps(place.subnet, other))) return place;
    netlink.deleteAddress(row);
  }
  const [flag, pools] = [family === 4 ? "--bip" : "--bip6", "--default-address-pool"];
  const router = wish.router === undefined ? "" : ` around the default gateway ${wish.router}`;
  throw new GantryError(
    "conflict",
    `all predefined address pools have been fully subnetted${router}: give the bridge an address (${flag}) or other pools (${pools})`,
  );
}

/** What may be kept, or chosen, where the bridge's own address is not given. */
function suits({ subnet, gateway }: Place, wish: AddressWish): boolean {
  const { range, router } = wish;
  if (range !== undefined && !containsSubnet(subnet, range)) return false;
  return router !== gateway && routerComplaint(wish, subnet) === undefined;
}

function rememberedPlace({ family }: AddressWish, { remembered }: DefaultBridgeWish): Place | undefined {
  const record = family === 4 ? remembered?.ipv4 : remembered?.ipv6;
  return record && { subnet: parseSubnet(record.subnet), gateway: record.gateway };
}

/** A range is the subnet, where the one that the bridge had before lies elsewhere. */
function rangeAlone(wish: AddressWish, context: DefaultBridgeWish): Place | undefined {
  const { range, router } = wish;
  if (range === undefined) return undefined;
  const before = rememberedPlace(wish, context);
  if (before !== undefined && suits(before, wish)) return before;
  const complaint = routerComplaint(wish, range);
  if (complaint !== undefined) throw complaint;
  return { subnet: range, gateway: firstBeside(range, router) };
}

/** What is given is not held against the host's routes, but this engine's networks would be cut off. */
function refuseReserved({ family, own, range }: AddressWish, { reserved }: DefaultBridgeWish): void {
  const wanted = own?.subnet ?? range;
  const other = wanted && reserved.find((one) => overlaps(one, wanted));
  if (wanted === undefined || other === undefined) return;
  const flag = own === undefined ? "fixed-cidr" : "bip";
  const six = { bip: "bip6", "fixed-cidr": "fixed-cidr-v6" }[flag];
  throw new GantryError(
    "conflict",
    `cannot give the default bridge ${formatSubnet(wanted)} (--${family === 4 ? flag : six}): a network of this engine has ${formatSubnet(other)}`,
  );
}

function* candidates(netlink: Netlink, index: number, wish: AddressWish, context: DefaultBridgeWish): Generator<Place> {
  const taken = [...takenSubnets(netlink, index), ...context.reserved];
  const before = rememberedPlace(wish, context);
  if (before !== undefined && suits(before, wish) && !taken.some((other) => overlaps(before.subnet, other)))
    yield before;
  for (const subnet of freeSubnets(wish.family, context.pools, taken)) {
    // The list is of before the first try; what was seen since is looked at again after the address is on.
    const place = { subnet, gateway: firstBeside(subnet, wish.router) };
    if (suits(place, wish)) yield place;
  }
}

/** The first address that a host may have, and another one than the router's. */
function firstBeside(subnet: Subnet, router: string | undefined): string {
  const first = formatAddress({ family: subnet.family, value: subnet.base + 1n });
  return first === router ? formatAddress({ family: subnet.family, value: subnet.base + 2n }) : first;
}

import { createHash } from "node:crypto";
import { GantryError, hasCode } from "../base/errors.ts";
import type { Link, Netlink } from "../kernel/netlink.ts";
import { writeSysctl } from "./sandbox.ts";
import {
  type AddressPoolConfig,
  formatAddress,
  formatSubnet,
  freeSubnets,
  lastOf,
  overlaps,
  parseAddress,
  parseSubnet,
  type Subnet,
} from "./subnet.ts";
import { takenSubnets } from "./taken.ts";

export interface DefaultBridgeWish {
  /** Unique to the data root. */
  readonly engineId: string;
  /** The interface's name, if no other engine has it. */
  readonly bridgeName: string;
  /** Address of the bridge with its prefix; else a free subnet of the pools is taken. */
  readonly bip: string | undefined;
  readonly pools: readonly AddressPoolConfig[];
  readonly mtu: number;
  /** What it was in an earlier life; kept if it is still free. */
  readonly remembered: { readonly interface: string; readonly subnet: string; readonly gateway: string } | undefined;
  /** Of this engine's other networks. */
  readonly reserved: readonly Subnet[];
}

export interface DefaultBridge {
  readonly index: number;
  readonly interface: string;
  readonly subnet: Subnet;
  readonly gateway: string;
}

/**
 * Finds the engine's default bridge or makes it. The kernel is the referee between engines: a name is ours if creating
 * it succeeds, a subnet if nothing else overlaps it after our address is on.
 */
export function ensureDefaultBridge(netlink: Netlink, wish: DefaultBridgeWish): DefaultBridge {
  const link = ensureLink(netlink, wish);
  const { subnet, gateway } = ensureSubnet(netlink, link, wish);
  netlink.changeLink(link.index, { up: true });
  return { index: link.index, interface: link.name, subnet, gateway };
}

/** A bridge is known again by its hardware address, which it has from its first instant on. */
export function bridgeMac(...owner: readonly string[]): string {
  const digest = createHash("sha256")
    .update(`gantry bridge ${owner.join(" ")}`)
    .digest();
  return `02:42:${Array.from(digest.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
}

function ensureLink(netlink: Netlink, wish: DefaultBridgeWish): Link {
  const mac = bridgeMac(wish.engineId);
  const own = () => netlink.links().find((link) => link.kind === "bridge" && link.mac === mac);
  const found = own();
  if (found !== undefined) return found;
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
    if (made !== undefined) return made;
  }
  throw new GantryError("conflict", `cannot make a bridge: the names ${wish.bridgeName} and ${derived} are taken`);
}

function ensureSubnet(netlink: Netlink, link: Link, wish: DefaultBridgeWish): { subnet: Subnet; gateway: string } {
  const present = netlink.addresses(link.index).filter((row) => !row.address.includes(":"));
  const fixed = wish.bip === undefined ? undefined : { cidr: wish.bip, subnet: parseSubnet(wish.bip) };
  const current = present.find((row) => fixed === undefined || `${row.address}/${row.prefix}` === fixed.cidr);
  if (current !== undefined) {
    return { subnet: parseSubnet(`${current.address}/${current.prefix}`), gateway: current.address };
  }
  for (const row of present) netlink.deleteAddress(row);
  if (fixed !== undefined) {
    const [gateway = ""] = fixed.cidr.split("/");
    netlink.addAddress({ index: link.index, address: gateway, prefix: fixed.subnet.prefix });
    return { subnet: fixed.subnet, gateway };
  }
  for (const { subnet, gateway } of candidates(netlink, link.index, wish)) {
    const row = { index: link.index, address: gateway, prefix: subnet.prefix };
    netlink.addAddress(row);
    // Another engine may have taken the same at the same time: whoever sees the other goes on to the next.
    if (!takenSubnets(netlink, link.index).some((other) => overlaps(subnet, other))) return { subnet, gateway };
    netlink.deleteAddress(row);
  }
  throw new GantryError(
    "conflict",
    "all predefined address pools have been fully subnetted: give the bridge an address (--bip) or other pools (--default-address-pool)",
  );
}

function* candidates(
  netlink: Netlink,
  index: number,
  wish: DefaultBridgeWish,
): Generator<{ subnet: Subnet; gateway: string }> {
  const { remembered } = wish;
  const taken = [...takenSubnets(netlink, index), ...wish.reserved];
  if (remembered !== undefined) {
    const subnet = parseSubnet(remembered.subnet);
    if (!taken.some((other) => overlaps(subnet, other))) yield { subnet, gateway: remembered.gateway };
  }
  for (const subnet of freeSubnets(4, wish.pools, taken)) {
    // The list is of before the first try; what was seen since is looked at again after the address is on.
    yield { subnet, gateway: formatAddress({ family: 4, value: subnet.base + 1n }) };
  }
}

/** `--bip` as given, or the reason why it can't be used. */
export function checkBip(bip: string): string {
  const subnet = parseSubnet(bip);
  const { value } = parseAddress(bip.split("/")[0] ?? "");
  if (subnet.family !== 4 || subnet.prefix > 30 || value === subnet.base || value === lastOf(subnet)) {
    throw new GantryError("invalid", `invalid --bip ${bip}: not an address of a host in ${formatSubnet(subnet)}`);
  }
  return bip;
}

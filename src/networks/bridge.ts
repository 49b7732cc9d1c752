import { createHash } from "node:crypto";
import { GantryError, hasCode } from "../base/errors.ts";
import type { Link, Netlink } from "../kernel/netlink.ts";
import type { EndpointAddress, NetworkDriver } from "./driver.ts";
import { AddressPool, macOf } from "./ipam.ts";
import type { EndpointRequest } from "./network.ts";
import { configureInside, nextInterface, withNetnsFd, writeSysctl } from "./sandbox.ts";
import {
  type AddressPoolConfig,
  formatAddress,
  formatSubnet,
  freeSubnets,
  overlaps,
  parseAddress,
  parseSubnet,
  type Subnet,
} from "./subnet.ts";

const PORT_NAME = /^gv[0-9a-f]{13}$/;

export interface BridgeWish {
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
}

export interface Bridge {
  readonly index: number;
  readonly interface: string;
  readonly subnet: Subnet;
  readonly gateway: string;
}

/**
 * Finds the engine's bridge or makes it. The kernel is the referee between engines: a name is ours if creating it
 * succeeds, a subnet if nothing else overlaps it after our address is on.
 */
export function ensureBridge(netlink: Netlink, wish: BridgeWish): Bridge {
  const link = ensureLink(netlink, wish);
  const { subnet, gateway } = ensureSubnet(netlink, link, wish);
  netlink.changeLink(link.index, { up: true });
  return { index: link.index, interface: link.name, subnet, gateway };
}

export class BridgeDriver implements NetworkDriver {
  readonly publishes = true;
  readonly bridge: Bridge;
  readonly #netlink: Netlink;
  readonly #mtu: number;
  readonly #pool: AddressPool;

  constructor(ports: { netlink: Netlink; bridge: Bridge; mtu: number }) {
    this.bridge = ports.bridge;
    this.#netlink = ports.netlink;
    this.#mtu = ports.mtu;
    this.#pool = new AddressPool(ports.bridge.subnet, [ports.bridge.gateway]);
  }

  join(endpointId: string, sandbox: string | undefined, wanted: EndpointRequest): EndpointAddress {
    if (sandbox === undefined) throw new GantryError("internal", "cannot join a bridge: no sandbox was made");
    const ipv4Address = this.#pool.take();
    const { gateway, subnet } = this.bridge;
    const macAddress = wanted.macAddress || macOf(ipv4Address);
    const name = portName(endpointId);
    try {
      const inside = withNetnsFd(sandbox, (netnsFd) => this.#createPort(name, macAddress, sandbox, netnsFd));
      // Or the kernel would give the near end a link-local address some time later.
      writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
      // With br_netfilter a container's call of its own published port is led back at the bridge, not above it.
      this.#netlink.setHairpin(name, true);
      const routes = inside === "eth0" ? [{ destination: "default", gateway }] : [];
      configureInside(sandbox, inside, { address: ipv4Address, prefix: subnet.prefix }, routes);
    } catch (error) {
      this.#deletePort(name);
      this.#pool.give(ipv4Address);
      throw error;
    }
    return { ipv4Address, prefix: subnet.prefix, gateway, macAddress };
  }

  leave(endpointId: string, address: EndpointAddress): void {
    // Deleting a veth waits 24 ms for the kernel, and it goes with its namespace anyway. Down, it forwards nothing
    // and the bridge has forgotten its addresses, so that they can be given again at once.
    try {
      this.#netlink.changeLink(portName(endpointId), { up: false });
    } catch (error) {
      if (!hasCode(error, "ENODEV", "EINVAL")) throw error;
    }
    this.#pool.give(address.ipv4Address);
  }

  adopt(_endpointId: string, address: EndpointAddress): void {
    this.#pool.hold(address.ipv4Address);
  }

  prune(endpointIds: ReadonlySet<string>): void {
    const kept = new Set(Array.from(endpointIds, portName));
    for (const link of this.#netlink.links()) {
      if (link.master !== this.bridge.index || !PORT_NAME.test(link.name) || kept.has(link.name)) continue;
      this.#deletePort(link.name);
    }
  }

  close(): void {
    this.prune(new Set());
    this.#deletePort(this.bridge.interface);
  }

  /** Lets 127.0.0.1 of the host reach the containers through this bridge; the firewall keeps them from the way back. */
  routeLoopback(): void {
    writeSysctl(`net/ipv4/conf/${this.bridge.interface}/route_localnet`, "1");
  }

  /** Returns the name of the end inside: eth0 but for a sandbox that is on a network already. */
  #createPort(name: string, mac: string, sandbox: string, netnsFd: number): string {
    const create = (inside: string): string => {
      const peer = { name: inside, mac, netnsFd };
      this.#netlink.createVeth({ name, mtu: this.#mtu, master: this.bridge.index, peer });
      return inside;
    };
    try {
      return create("eth0");
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      return create(nextInterface(sandbox));
    }
  }

  #deletePort(name: string): void {
    try {
      this.#netlink.deleteLink(name);
    } catch (error) {
      if (!hasCode(error, "ENODEV", "EINVAL")) throw error;
    }
  }
}

/** The bridge is known again by its hardware address, which it has from its first instant on. */
function bridgeMac(engineId: string): string {
  const digest = createHash("sha256").update(`gantry bridge ${engineId}`).digest();
  return `02:42:${Array.from(digest.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
}

function portName(endpointId: string): string {
  return `gv${endpointId.slice(0, 13)}`;
}

function ensureLink(netlink: Netlink, wish: BridgeWish): Link {
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

function ensureSubnet(netlink: Netlink, link: Link, wish: BridgeWish): { subnet: Subnet; gateway: string } {
  const present = netlink.addresses().filter((row) => row.index === link.index && !row.address.includes(":"));
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
  wish: BridgeWish,
): Generator<{ subnet: Subnet; gateway: string }> {
  const { remembered } = wish;
  const taken = takenSubnets(netlink, index);
  if (remembered !== undefined) {
    const subnet = parseSubnet(remembered.subnet);
    if (!taken.some((other) => overlaps(subnet, other))) yield { subnet, gateway: remembered.gateway };
  }
  for (const subnet of freeSubnets(wish.pools, taken)) {
    // The list is of before the first try; what was seen since is looked at again after the address is on.
    yield { subnet, gateway: formatAddress(subnet.base + 1) };
  }
}

/** What the host's addresses and routes cover, but for the bridge's own and default routes. */
function takenSubnets(netlink: Netlink, ownIndex: number): Subnet[] {
  const ofAddresses = netlink
    .addresses()
    .filter((row) => row.index !== ownIndex && !row.address.includes(":"))
    .map((row) => parseSubnet(`${row.address}/${row.prefix}`));
  const ofRoutes = netlink
    .routes()
    .filter((row) => row.family === 4 && row.index !== ownIndex && row.destination !== "default")
    .map((row) => parseSubnet(row.destination));
  return [...ofAddresses, ...ofRoutes];
}

/** `--bip` as given, or the reason why it can't be used. */
export function checkBip(bip: string): string {
  const { base, prefix } = parseSubnet(bip);
  const address = parseAddress(bip.split("/")[0] ?? "");
  if (prefix > 30 || address === base || address === base + 2 ** (32 - prefix) - 1) {
    throw new GantryError(
      "invalid",
      `invalid --bip ${bip}: not an address of a host in ${formatSubnet({ base, prefix })}`,
    );
  }
  return bip;
}

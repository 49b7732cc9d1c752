import { GantryError, hasCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { Netlink } from "../kernel/netlink.ts";
import type { EndpointAddress, EndpointWish, NetworkDriver } from "./driver.ts";
import type { FirewallNetwork } from "./firewall.ts";
import { AddressPool, macOf } from "./ipam.ts";
import { configureInside, nextInterface, withNetnsFd, writeSysctl } from "./sandbox.ts";
import type { Subnet } from "./subnet.ts";

const PORT_NAME = /^gv[0-9a-f]{13}$/;
const LINK_LOCAL_PREFIX = { 4: 16, 6: 64 } as const;

/** A bridge in the kernel, and what is to be known of its network. */
export interface Bridge {
  readonly index: number;
  readonly interface: string;
  /** It was there before the network, and stays after it. */
  readonly isForeign: boolean;
  readonly mtu: number;
  readonly ipv4: BridgeAddresses | undefined;
  readonly ipv6: BridgeAddresses | undefined;
  readonly internal: boolean;
  readonly neighbours: boolean;
  readonly masquerade: boolean;
  readonly hostBinding: string;
  /** What interfaces inside are called, with a number at the end. */
  readonly insidePrefix: string;
}

export interface BridgeAddresses {
  readonly subnet: Subnet;
  readonly gateway: string;
  readonly range?: Subnet;
  readonly reserved: readonly string[];
}

/** Containers on a bridge: a veth each, with an address of each family that the network has. */
export class BridgeDriver implements NetworkDriver {
  readonly bridge: Bridge;
  readonly publishes: boolean;
  readonly hostBinding: string;
  readonly firewall: FirewallNetwork;
  readonly #netlink: Netlink;
  readonly #pool4: AddressPool | undefined;
  readonly #pool6: AddressPool | undefined;

  constructor(ports: { netlink: Netlink; bridge: Bridge }) {
    const { bridge } = ports;
    this.bridge = bridge;
    this.publishes = !bridge.internal;
    this.hostBinding = bridge.hostBinding;
    this.#netlink = ports.netlink;
    this.#pool4 = poolOf(bridge.ipv4);
    this.#pool6 = poolOf(bridge.ipv6);
    this.firewall = {
      interface: bridge.interface,
      subnets: [bridge.ipv4, bridge.ipv6].flatMap((addresses) => addresses?.subnet ?? []),
      masquerade: bridge.masquerade,
      neighbours: bridge.neighbours,
      internal: bridge.internal,
    };
  }

  join(endpointId: string, sandbox: string | undefined, wish: EndpointWish): EndpointAddress {
    if (sandbox === undefined) throw new GantryError("internal", "cannot join a bridge: no sandbox was made");
    const name = portName(endpointId);
    const address = this.#takeAddresses(wish);
    try {
      const inside = withNetnsFd(sandbox, (fd) => this.#createPort(name, address.macAddress, sandbox, fd));
      failpoint("networks.join.linked");
      // Or the kernel would give the near end a link-local address some time later.
      writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
      // With br_netfilter a container's call of its own published port is led back at the bridge, not above it.
      this.#netlink.setBridgePort(name, { hairpin: true, ...(this.bridge.neighbours ? {} : { isolated: true }) });
      configureInside(sandbox, inside, this.#insideOf(address, wish));
      failpoint("networks.join.configured");
    } catch (error) {
      this.#deletePort(name);
      this.#giveAddresses(address);
      throw error;
    }
    return address;
  }

  leave(endpointId: string, address: EndpointAddress): void {
    // Deleting a veth waits 24 ms for the kernel, and it goes with its namespace anyway. Down, it forwards nothing
    // and the bridge has forgotten its addresses, so that they can be given again at once.
    this.#takeDown(portName(endpointId));
    this.#giveAddresses(address);
  }

  async unplug(endpointId: string, address: EndpointAddress): Promise<void> {
    const name = portName(endpointId);
    this.#takeDown(name);
    this.#giveAddresses(address);
    await deleteAside(name);
  }

  adopt(_endpointId: string, address: EndpointAddress): void {
    if (address.ipv4Address !== "") this.#pool4?.hold(address.ipv4Address);
    if (address.ipv6Address !== "") this.#pool6?.hold(address.ipv6Address);
  }

  prune(endpointIds: ReadonlySet<string>): void {
    const kept = new Set(Array.from(endpointIds, portName));
    for (const link of this.#netlink.links()) {
      if (!PORT_NAME.test(link.name)) continue;
      const isOurs = link.master === this.bridge.index;
      if (isOurs && !kept.has(link.name)) this.#deletePort(link.name);
      // The bridge it was on is gone, and this one is there in its place.
      if (!isOurs && kept.has(link.name)) this.#netlink.changeLink(link.index, { master: this.bridge.index });
    }
  }

  routeLoopback(): void {
    writeSysctl(`net/ipv4/conf/${this.bridge.interface}/route_localnet`, "1");
  }

  async close(): Promise<void> {
    if (!this.bridge.isForeign) {
      await deleteAside(this.bridge.interface);
      return;
    }
    for (const addresses of [this.bridge.ipv4, this.bridge.ipv6]) {
      if (addresses === undefined) continue;
      const row = { index: this.bridge.index, address: addresses.gateway, prefix: addresses.subnet.prefix };
      try {
        this.#netlink.deleteAddress(row);
      } catch (error) {
        if (!hasCode(error, "EADDRNOTAVAIL", "ENODEV")) throw error;
      }
    }
  }

  #takeAddresses({ settings }: EndpointWish): EndpointAddress {
    const { ipv4, ipv6, internal } = this.bridge;
    const wanted = settings.IPAMConfig;
    const four = addressOf(this.#pool4, 4, wanted?.IPv4Address);
    let six = "";
    try {
      six = addressOf(this.#pool6, 6, wanted?.IPv6Address);
    } catch (error) {
      if (four !== "") this.#pool4?.give(four);
      throw error;
    }
    return {
      ipv4Address: four,
      prefix: ipv4?.subnet.prefix ?? 0,
      gateway: internal ? "" : (ipv4?.gateway ?? ""),
      ipv6Address: six,
      ipv6Prefix: ipv6?.subnet.prefix ?? 0,
      ipv6Gateway: internal ? "" : (ipv6?.gateway ?? ""),
      macAddress: settings.MacAddress || macOf(four === "" ? six : four),
    };
  }

  #giveAddresses({ ipv4Address, ipv6Address }: EndpointAddress): void {
    if (ipv4Address !== "") this.#pool4?.give(ipv4Address);
    if (ipv6Address !== "") this.#pool6?.give(ipv6Address);
  }

  #insideOf(address: EndpointAddress, { settings, isDefault }: EndpointWish) {
    const own = [
      { address: address.ipv4Address, prefix: address.prefix },
      { address: address.ipv6Address, prefix: address.ipv6Prefix },
    ].filter((row) => row.address !== "");
    const linkLocal = (settings.IPAMConfig?.LinkLocalIPs ?? []).map((text) => ({
      address: text,
      prefix: LINK_LOCAL_PREFIX[text.includes(":") ? 6 : 4],
    }));
    const gateways = [
      ...(isDefault.ipv4 ? [address.gateway] : []),
      ...(isDefault.ipv6 ? [address.ipv6Gateway] : []),
    ].filter((gateway) => gateway !== "");
    return {
      addresses: [...own, ...linkLocal],
      routes: gateways.map((gateway) => ({ destination: "default", gateway })),
      ipv6: [...own, ...linkLocal].some((row) => row.address.includes(":")),
    };
  }

  /** Returns the name of the end inside: eth0 but for a sandbox that is on a network already. */
  #createPort(name: string, mac: string, sandbox: string, netnsFd: number): string {
    const { index, mtu, insidePrefix } = this.bridge;
    const create = (inside: string): string => {
      this.#netlink.createVeth({ name, mtu, master: index, peer: { name: inside, mac, netnsFd } });
      return inside;
    };
    try {
      return create(`${insidePrefix}0`);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      return create(nextInterface(sandbox, insidePrefix));
    }
  }

  #takeDown(name: string): void {
    try {
      this.#netlink.changeLink(name, { up: false });
    } catch (error) {
      if (!hasCode(error, "ENODEV", "EINVAL")) throw error;
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

async function deleteAside(name: string): Promise<void> {
  try {
    await Netlink.deleteLinkAside(name);
  } catch (error) {
    if (!hasCode(error, "ENODEV", "EINVAL")) throw error;
  }
}

function poolOf(addresses: BridgeAddresses | undefined): AddressPool | undefined {
  if (addresses === undefined) return undefined;
  const { subnet, range, gateway, reserved } = addresses;
  return new AddressPool(subnet, { range, reserved: [gateway, ...reserved] });
}

function addressOf(pool: AddressPool | undefined, family: 4 | 6, wanted: string | undefined): string {
  if (pool === undefined) {
    if (!wanted) return "";
    throw new GantryError("invalid", `no configured subnet contains IP address ${wanted}: IPv${family} is not enabled`);
  }
  return wanted ? pool.claim(wanted) : pool.take();
}

function portName(endpointId: string): string {
  return `gv${endpointId.slice(0, 13)}`;
}

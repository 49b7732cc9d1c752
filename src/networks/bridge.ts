import { GantryError, hasCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Link, Netlink } from "../kernel/netlink.ts";
import { NetworkAddresses, type SubnetAddresses } from "./addresses.ts";
import { type DepartedPorts, deleteAside } from "./departed-ports.ts";
import {
  type EndpointAddress,
  type EndpointWish,
  type NetworkDriver,
  type Plugged,
  type WayOut,
  wayThrough,
} from "./driver.ts";
import { readEndpointOptions } from "./endpoint-options.ts";
import type { FirewallNetwork } from "./firewall.ts";
import { bornInside, insideOf } from "./inside.ts";
import { macOf } from "./ipam.ts";
import { configureInside, writeSysctl } from "./sandbox.ts";
import type { Family } from "./subnet.ts";

const PORT_NAME = /^gv[0-9a-f]{13}$/;

/** A bridge in the kernel, and what is to be known of its network. */
export interface Bridge {
  /** What refusals call the network. */
  readonly network: string;
  readonly index: number;
  readonly interface: string;
  /** It was there before the network, and stays after it. */
  readonly isForeign: boolean;
  readonly mtu: number;
  readonly ipv4: SubnetAddresses | undefined;
  readonly ipv6: SubnetAddresses | undefined;
  readonly internal: boolean;
  readonly neighbours: boolean;
  readonly masquerade: boolean;
  /** Missing: "nat" for both. */
  readonly gatewayModes?: FirewallNetwork["gatewayModes"];
  readonly trustedInterfaces?: readonly string[];
  readonly hostBinding: string;
  /** What interfaces inside are called, with a number at the end. */
  readonly insidePrefix: string;
}

/** Containers on a bridge: a veth each, with an address of each family that the network has. */
export class BridgeDriver implements NetworkDriver {
  readonly bridge: Bridge;
  readonly hostBinding: string;
  readonly firewall: FirewallNetwork;
  readonly #netlink: Netlink;
  readonly #departed: DepartedPorts;
  readonly #addresses: NetworkAddresses;

  constructor(ports: { netlink: Netlink; departed: DepartedPorts; bridge: Bridge }) {
    const { bridge } = ports;
    this.bridge = bridge;
    this.hostBinding = bridge.hostBinding;
    this.#netlink = ports.netlink;
    this.#departed = ports.departed;
    this.#addresses = new NetworkAddresses({
      ipv4: bridge.ipv4 === undefined ? [] : [bridge.ipv4],
      ipv6: bridge.ipv6 === undefined ? [] : [bridge.ipv6],
      network: bridge.network,
      isCutOff: bridge.internal,
    });
    this.firewall = {
      interface: bridge.interface,
      subnets: [bridge.ipv4, bridge.ipv6].flatMap((addresses) => addresses?.subnet ?? []),
      isForeign: bridge.isForeign,
      masquerade: bridge.masquerade,
      neighbours: bridge.neighbours,
      internal: bridge.internal,
      gatewayModes: bridge.gatewayModes,
      trustedInterfaces: bridge.trustedInterfaces,
    };
  }

  join(endpointId: string, sandbox: string | undefined, wish: EndpointWish): EndpointAddress {
    if (sandbox === undefined) throw new GantryError("internal", "cannot join a bridge: no sandbox was made");
    const name = portName(endpointId);
    const options = readEndpointOptions(wish.settings.DriverOpts);
    const address = this.#takeAddresses(wish);
    try {
      const { macAddress: mac } = address;
      const { insidePrefix: prefix, neighbours, mtu, index: master } = this.bridge;
      const named = { chosen: options.ifname, prefix, likely: wish.unnamed };
      const inside = bornInside(sandbox, named, (inside, netnsFd) => {
        const port = { hairpin: true, ...(neighbours ? {} : { isolated: true }) };
        // With br_netfilter a container's call of its own published port is led back at the bridge, not above it.
        this.#netlink.createVeth({ name, mtu, master, port, peer: { name: inside, mac, netnsFd } });
      });
      failpoint("networks.join.linked");
      // Or the kernel would give the near end a link-local address some time later.
      writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
      configureInside(sandbox, inside, { ...insideOf(this, endpointId, address, wish), sysctls: options.sysctls });
      failpoint("networks.join.configured");
    } catch (error) {
      this.#deletePort(name);
      this.#addresses.give(address, wish.owner);
      throw error;
    }
    return address;
  }

  leave({ id, address, owner }: Plugged): void {
    // Deleting a veth waits 24 ms for the kernel, and it goes with its namespace anyway. Down, it forwards nothing
    // and the bridge has forgotten its addresses, so that they can be given again at once.
    const name = portName(id);
    this.#takeDown(name);
    this.#departed.add(name);
    this.#addresses.give(address, owner);
  }

  async unplug({ id, address, owner }: Plugged): Promise<void> {
    const name = portName(id);
    this.#takeDown(name);
    this.#addresses.give(address, owner);
    await deleteAside(name);
  }

  adopt(_endpointId: string, address: EndpointAddress): void {
    this.#addresses.hold(address);
  }

  wayOut(_endpointId: string, address: EndpointAddress, family: Family): WayOut | undefined {
    return wayThrough(address, family);
  }

  prune(endpointIds: ReadonlySet<string>, links: readonly Link[]): void {
    const kept = new Set(Array.from(endpointIds, portName));
    for (const link of links) {
      if (!PORT_NAME.test(link.name)) continue;
      const isOurs = link.master === this.bridge.index;
      if (isOurs && !kept.has(link.name)) this.#deletePort(link.name);
      if (isOurs || !kept.has(link.name)) continue;
      // The bridge it was on is gone, and this one is there in its place.
      this.#netlink.changeLink(link.index, { master: this.bridge.index });
      this.#settlePort(link.name);
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

  #takeAddresses(wish: EndpointWish): EndpointAddress {
    const given = this.#addresses.take(wish);
    return { ...given, macAddress: wish.settings.MacAddress || macOf(given.ipv4Address || given.ipv6Address) };
  }

  /** What the bridge does with what comes there: it is forgotten with the bridge. */
  #settlePort(name: string): void {
    // With br_netfilter a container's call of its own published port is led back at the bridge, not above it.
    this.#netlink.setBridgePort(name, { hairpin: true, ...(this.bridge.neighbours ? {} : { isolated: true }) });
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

function portName(endpointId: string): string {
  return `gv${endpointId.slice(0, 13)}`;
}

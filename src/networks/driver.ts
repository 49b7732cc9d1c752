import type { EndpointSettings } from "../api/container.ts";
import type { Link } from "../kernel/netlink.ts";
import type { FirewallNetwork } from "./firewall.ts";
import type { Family } from "./subnet.ts";

/** What a driver gave an endpoint; empty texts and 0 where the network has no such thing. */
export interface EndpointAddress {
  readonly ipv4Address: string;
  readonly prefix: number;
  readonly gateway: string;
  readonly ipv6Address: string;
  readonly ipv6Prefix: number;
  readonly ipv6Gateway: string;
  readonly macAddress: string;
}

export const NO_ADDRESS: EndpointAddress = {
  ipv4Address: "",
  prefix: 0,
  gateway: "",
  ipv6Address: "",
  ipv6Prefix: 0,
  ipv6Gateway: "",
  macAddress: "",
};

/** What an endpoint is to be. */
export interface EndpointWish {
  /** The container: what it had before it gets again, if that is free. */
  readonly owner: string;
  /** The user's: fixed addresses, hardware address. */
  readonly settings: Partial<EndpointSettings>;
  /** How many endpoints the sandbox has whose interfaces the user did not name. */
  readonly unnamed: number;
  /** The sandbox's default routes are to go through this network from now on. */
  readonly isDefault: { readonly ipv4: boolean; readonly ipv6: boolean };
}

/** An endpoint that is there. */
export interface Plugged {
  readonly id: string;
  readonly address: EndpointAddress;
  /** The container. */
  readonly owner: string;
  /** Where the sandbox is bound; undefined for the host's own namespace. */
  readonly sandbox: string | undefined;
}

/** How a sandbox gets out through an endpoint: by a router, or straight onto the wire of the link of this group. */
export type WayOut = { readonly gateway: string } | { readonly family: Family; readonly group: number };

/** One kind of network. An endpoint is told by its id. */
export interface NetworkDriver {
  /** Where ports are published that name no address of the host; "" for all of them. */
  readonly hostBinding: string;
  /** What the packet filter has to know of it. */
  readonly firewall: FirewallNetwork | undefined;
  /** Links the sandbox at `sandbox` (undefined: the host's own namespace). All or nothing. */
  join(endpointId: string, sandbox: string | undefined, wish: EndpointWish): EndpointAddress;
  /** Takes the endpoint of a sandbox that ends down; no error for what isn't there. */
  leave(endpoint: Plugged): void;
  /** Takes the endpoint out of a sandbox that goes on; resolves when nothing of it is left inside. */
  unplug(endpoint: Plugged): Promise<void>;
  /** Takes over an endpoint that an earlier engine made. */
  adopt(endpointId: string, address: EndpointAddress): void;
  /** Undefined where the network leads nowhere by this family. */
  wayOut(endpointId: string, address: EndpointAddress, family: Family): WayOut | undefined;
  /** Of the host's links removes what belongs to none of these endpoints, and puts right what belongs to them. */
  prune(endpointIds: ReadonlySet<string>, links: readonly Link[]): void;
  /** Lets 127.0.0.1 of the host reach the containers of this network. */
  routeLoopback(): void;
  /** Removes the network's own links. */
  close(): Promise<void>;
}

/** By the gateway that the endpoint's address came with. */
export function wayThrough({ gateway, ipv6Gateway }: EndpointAddress, family: Family): WayOut | undefined {
  const router = family === 4 ? gateway : ipv6Gateway;
  return router === "" ? undefined : { gateway: router };
}

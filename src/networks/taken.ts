import type { Netlink } from "../kernel/netlink.ts";
import { parseSubnet, type Subnet } from "./subnet.ts";

/** Halves of everything are default routes, too: VPNs put them before the one that is there. */
const DEFAULT_ROUTE = /^(0\.0\.0\.0\/[01]|128\.0\.0\.0\/1|::\/[01]|8000::\/1|2000::\/3)$/;
const LINK_LOCAL = /^(fe80:|ff00::\/8$)/;

/** What the host's addresses and routes cover, but for those of one link, default routes and every link's own fe80::. */
export function takenSubnets(netlink: Netlink, ownIndex: number): Subnet[] {
  const ofAddresses = netlink
    .addresses()
    .filter((row) => row.index !== ownIndex)
    .map((row) => `${row.address}/${row.prefix}`);
  const ofRoutes = netlink
    .routesAway()
    .filter((row) => row.index !== ownIndex && row.destination !== "default")
    .map((row) => row.destination);
  return [...ofAddresses, ...ofRoutes]
    .filter((cidr) => !LINK_LOCAL.test(cidr) && !DEFAULT_ROUTE.test(cidr))
    .map(parseSubnet);
}

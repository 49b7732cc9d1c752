import type { Netlink } from "../kernel/netlink.ts";
import { parseSubnet, type Subnet } from "./subnet.ts";

/** What the host's addresses and routes cover, but for those of one link, default routes and every link's own fe80::. */
export function takenSubnets(netlink: Netlink, ownIndex: number): Subnet[] {
  const ofAddresses = netlink
    .addresses()
    .filter((row) => row.index !== ownIndex)
    .map((row) => `${row.address}/${row.prefix}`);
  const ofRoutes = netlink
    .routes()
    .filter((row) => row.index !== ownIndex && row.destination !== "default")
    .map((row) => row.destination);
  return [...ofAddresses, ...ofRoutes]
    .filter((cidr) => !/^(fe80:|ff00::\/8|::\/0|0\.0\.0\.0\/0)/.test(cidr))
    .map(parseSubnet);
}

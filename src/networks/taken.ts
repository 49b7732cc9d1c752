import { AddressChanges, type Netlink } from "../kernel/netlink.ts";
import { parseSubnet, type Subnet } from "./subnet.ts";

/** Halves of everything are default routes, too: VPNs put them before the one that is there. */
const DEFAULT_ROUTE = /^(0\.0\.0\.0\/[01]|128\.0\.0\.0\/1|::\/[01]|8000::\/1|2000::\/3)$/;
const LINK_LOCAL = /^(fe80:|ff00::\/8$)/;

/** True for what is no more one link's than another's: default routes, and every link's own fe80::. */
export function isAnyLinks(cidr: string): boolean {
  return cidr === "default" || LINK_LOCAL.test(cidr) || DEFAULT_ROUTE.test(cidr);
}

/** What the host's addresses and routes cover, but for those of one link, default routes and every link's own fe80::. */
export function takenSubnets(netlink: Netlink, ownIndex: number): Subnet[] {
  return takenBut(netlink, new Set([ownIndex]));
}

/** Knows what the host's addresses and routes cover, without asking for all of them each time. */
export class Taken {
  readonly #netlink: Netlink;
  readonly #changes = new AddressChanges();
  readonly #ownLinks: () => ReadonlySet<number>;
  #known: readonly Subnet[] | undefined;

  /** `ownLinks`: those that don't count. What changes on them is no reason to look again. */
  constructor(netlink: Netlink, ownLinks: () => ReadonlySet<number>) {
    this.#netlink = netlink;
    this.#ownLinks = ownLinks;
  }

  /** As it is now. `ownLink` does not count either. */
  subnets(ownLink = 0): readonly Subnet[] {
    const own = this.#ownLinks();
    const isOwn = (index: number) => own.has(index) || (index !== 0 && index === ownLink);
    const changed = this.#changes.links();
    if (changed === undefined || [...changed].some((index) => !isOwn(index))) this.#known = undefined;
    this.#known ??= takenBut(this.#netlink, ownLink === 0 ? own : new Set([...own, ownLink]));
    return this.#known;
  }

  close(): void {
    this.#changes.close();
  }
}

function takenBut(netlink: Netlink, own: ReadonlySet<number>): Subnet[] {
  const ofAddresses = netlink
    .addresses()
    .filter(({ index }) => !own.has(index))
    .map(({ address, prefix }) => `${address}/${prefix}`);
  const ofRoutes = netlink
    .routesAway()
    .filter(({ index }) => !own.has(index))
    .map(({ destination }) => destination);
  const cidrs = new Set([...ofAddresses, ...ofRoutes]);
  return [...cidrs].filter((cidr) => !isAnyLinks(cidr)).map(parseSubnet);
}

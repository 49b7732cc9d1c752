import { isIPv4, isIPv6 } from "node:net";
import { GantryError } from "../base/errors.ts";
import { addressBytes, addressText } from "../kernel/netlink.ts";

export type Family = 4 | 6;

/** An address as an unsigned number of 32 or 128 bits. */
export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

/** A network: its first address, and the length of its prefix. */
export interface Subnet {
  readonly family: Family;
  readonly base: bigint;
  readonly prefix: number;
}

/** Where subnets are taken from: `base` in CIDR, cut in pieces of prefix `size`. As in daemon.json. */
export interface AddressPoolConfig {
  readonly base: string;
  readonly size: number;
}

/**
 * The ranges are Docker's own, and so is the order but for the last three, so that nothing else of a user's networks is
 * covered. Docker cuts 31 subnets of them; here the last four of /16 are cut into 1,024, before any of 192.168.0.0/16,
 * where people's homes are.
 */
export const DEFAULT_POOLS: readonly AddressPoolConfig[] = [
  { base: "172.17.0.0/16", size: 16 },
  { base: "172.18.0.0/16", size: 16 },
  { base: "172.19.0.0/16", size: 16 },
  { base: "172.20.0.0/14", size: 16 },
  { base: "172.24.0.0/14", size: 16 },
  { base: "172.28.0.0/14", size: 24 },
  { base: "192.168.0.0/16", size: 20 },
];

export function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** The family of an address in text; undefined if it is none. */
export function familyOf(text: string): Family | undefined {
  return isIPv4(text) ? 4 : isIPv6(text) && !text.includes("%") ? 6 : undefined;
}

export function parseAddress(text: string): Address {
  const family = familyOf(text);
  if (family === undefined) throw new GantryError("invalid", `invalid IP address: ${text.slice(0, 100)}`);
  return { family, value: BigInt(`0x${addressBytes(text).toString("hex")}`) };
}

export function formatAddress({ family, value }: Address): string {
  return addressText(Buffer.from(value.toString(16).padStart(bitsOf(family) / 4, "0"), "hex"));
}

/** The network that a CIDR lies in; host bits are let go. */
export function parseSubnet(cidr: string): Subnet {
  const [address = "", length = "", ...more] = cidr.split("/");
  const family = familyOf(address);
  const prefix = Number(length);
  if (family === undefined || !/^\d{1,3}$/.test(length) || prefix > bitsOf(family) || more.length > 0)
    throw new GantryError("invalid", `invalid CIDR address: ${cidr.slice(0, 100)}`);
  const { value } = parseAddress(address);
  const hostBits = BigInt(bitsOf(family) - prefix);
  return { family, base: (value >> hostBits) << hostBits, prefix };
}

export function formatSubnet({ family, base, prefix }: Subnet): string {
  return `${formatAddress({ family, value: base })}/${prefix}`;
}

function sizeOf({ family, prefix }: Subnet): bigint {
  return 1n << BigInt(bitsOf(family) - prefix);
}

export function lastOf(subnet: Subnet): bigint {
  return subnet.base + sizeOf(subnet) - 1n;
}

export function contains(subnet: Subnet, { family, value }: Address): boolean {
  return family === subnet.family && value >= subnet.base && value <= lastOf(subnet);
}

/** True if `inner` lies in `outer` whole. */
export function containsSubnet(outer: Subnet, inner: Subnet): boolean {
  return outer.family === inner.family && inner.prefix >= outer.prefix && overlaps(outer, inner);
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.family === b.family && a.base <= lastOf(b) && b.base <= lastOf(a);
}

/** The pools' subnets of one family in order, without those that overlap a taken one. */
export function* freeSubnets(
  family: Family,
  pools: readonly AddressPoolConfig[],
  taken: readonly Subnet[],
): Generator<Subnet> {
  const inTheWay = disjoint(taken.filter((other) => other.family === family));
  for (const pool of pools) {
    const whole = parseSubnet(pool.base);
    if (!Number.isInteger(pool.size) || pool.size < whole.prefix || pool.size > bitsOf(whole.family) - 2) {
      throw new GantryError("invalid", `invalid size ${pool.size} of the default address pool ${pool.base}`);
    }
    if (whole.family !== family) continue;
    const step = 1n << BigInt(bitsOf(family) - pool.size);
    const end = lastOf(whole);
    // Both go upwards: a look at each of what is taken is enough for all subnets of the pool.
    let at = 0;
    for (let base = whole.base; base <= end; ) {
      while (at < inTheWay.length && inTheWay[at]!.last < base) at++;
      const other = inTheWay[at];
      if (other === undefined || other.first > base + step - 1n) {
        yield { family, base, prefix: pool.size };
        base += step;
      } else {
        // Past all of what is in the way at once: a route may cover more subnets than one could ever count.
        base = (other.last / step + 1n) * step;
      }
    }
  }
}

interface Stretch {
  readonly first: bigint;
  readonly last: bigint;
}

/** What subnets of one family cover, upwards and without overlaps. */
function disjoint(subnets: readonly Subnet[]): Stretch[] {
  const sorted = subnets
    .map((subnet): Stretch => ({ first: subnet.base, last: lastOf(subnet) }))
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const merged: Stretch[] = [];
  for (const stretch of sorted) {
    const before = merged.at(-1);
    if (before === undefined || stretch.first > before.last) merged.push(stretch);
    else if (stretch.last > before.last) merged[merged.length - 1] = { first: before.first, last: stretch.last };
  }
  return merged;
}

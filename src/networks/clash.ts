import { formatSubnet, overlaps, parseSubnet } from "./subnet.ts";
import { isAnyLinks } from "./taken.ts";

/** A subnet of one of this engine's networks, on a bridge. */
export interface OwnSubnet {
  readonly networkId: string;
  /** CIDR. */
  readonly subnet: string;
  /** Of the bridge. */
  readonly index: number;
}

/** Addresses that the host has or reaches by a link. */
export interface Reached {
  /** CIDR; host bits do not matter. */
  readonly destination: string;
  readonly index: number;
}

/** Containers and somebody else are to be had by the same addresses. */
export interface Clash {
  readonly networkId: string;
  readonly subnet: string;
  /** What the host reaches there. */
  readonly other: string;
  /** By which link. */
  readonly index: number;
}

/** What clashes, each once. Links of other networks of this engine clash with nothing: their subnets were chosen so. */
export function findClashes(own: readonly OwnSubnet[], reached: Iterable<Reached>): Clash[] {
  const bridges = new Set(own.map(({ index }) => index));
  const subnets = own.map((row) => ({ ...row, parsed: parseSubnet(row.subnet) }));
  const found = new Map<string, Clash>();
  for (const { destination, index } of reached) {
    // Without a link it leads nowhere; what is on one of the bridges is the network's own.
    if (index === 0 || bridges.has(index) || isAnyLinks(destination)) continue;
    const other = parseSubnet(destination);
    for (const { networkId, subnet, parsed } of subnets) {
      if (!overlaps(parsed, other)) continue;
      const clash = { networkId, subnet, other: formatSubnet(other), index };
      found.set(keyOf(clash), clash);
    }
  }
  return [...found.values()];
}

/** What tells one clash from another. */
export function keyOf({ networkId, subnet, other, index }: Clash): string {
  return [networkId, subnet, other, index].join(" ");
}

import type { Endpoint } from "./endpoint.ts";
import type { AddressesRecord } from "./record.ts";
import { type Family, familyOf } from "./subnet.ts";

type Candidate = Pick<Endpoint, "network" | "settings">;

/**
 * Which of a sandbox's endpoints its default route of one family goes through: the highest GwPriority, then one that
 * has both families, then the first network by name. Undefined if none leads out.
 */
export function gatewayOf<T extends Candidate>(endpoints: Iterable<T>, family: Family): T | undefined {
  let best: T | undefined;
  for (const endpoint of endpoints) {
    if (leadsOut(endpoint, family) && (best === undefined || isBefore(endpoint, best))) best = endpoint;
  }
  return best;
}

/** Endpoints in the order in which they are to be the gateway. */
export function inGatewayOrder<T extends Candidate>(endpoints: Iterable<T>): T[] {
  return [...endpoints].sort((a, b) => (isBefore(a, b) ? -1 : 1));
}

/**
 * The host's addresses that a sandbox with these endpoints reaches, one a family at most: the `chosen` ones if it gets
 * that far, else its gateway's, and of a network that leads nowhere the bridge's own.
 */
export function hostAddressesOf(endpoints: Iterable<Endpoint>, chosen: readonly string[]): string[] {
  const bridged = [...endpoints].filter(({ network }) => network.driver === "bridge");
  const addressOf = (family: Family): string | undefined => {
    const out = gatewayOf(bridged, family);
    if (out !== undefined) {
      const { gateway, ipv6Gateway } = out.address;
      const own = recordOf(out, family);
      const reached = own?.router === undefined ? (family === 4 ? gateway : ipv6Gateway) : own.gateway;
      return chosen.find((address) => familyOf(address) === family) ?? reached;
    }
    const own = bridged.map((endpoint) => recordOf(endpoint, family)?.gateway);
    return own.find((address) => address !== undefined);
  };
  return [addressOf(4), addressOf(6)].flatMap((address) => address || []);
}

function recordOf({ network: { bridge } }: Candidate, family: Family): AddressesRecord | undefined {
  return family === 4 ? bridge?.ipv4 : bridge?.ipv6;
}

function leadsOut({ network }: Candidate, family: Family): boolean {
  if (network.internal || network.shared?.isAlone === true) return false;
  if (!["bridge", "macvlan", "ipvlan"].includes(network.driver)) return false;
  return family === 4 ? network.enableIPv4 : network.enableIPv6;
}

function isBefore(a: Candidate, b: Candidate): boolean {
  const byPriority = (b.settings.GwPriority ?? 0) - (a.settings.GwPriority ?? 0);
  if (byPriority !== 0) return byPriority < 0;
  if (hasBoth(a) !== hasBoth(b)) return hasBoth(a);
  return a.network.name < b.network.name;
}

function hasBoth({ network }: Candidate): boolean {
  return network.enableIPv4 && network.enableIPv6;
}

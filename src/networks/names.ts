import type { Endpoint } from "./endpoint.ts";
import { inGatewayOrder } from "./gateway.ts";
import { isPredefined } from "./record.ts";
import { familyOf, formatAddress, parseAddress } from "./subnet.ts";

/** What is called how on each network of the user's: the endpoints there, by their names and addresses. */
export class Names {
  readonly #byName = new Map<string, Map<string, Set<Endpoint>>>();
  readonly #byAddress = new Map<string, Map<string, Endpoint>>();

  add(endpoint: Endpoint): void {
    if (isPredefined(endpoint.network)) return;
    const names = this.#of(this.#byName, endpoint);
    for (const name of keysOf(endpoint)) {
      const bearers = names.get(name) ?? new Set();
      names.set(name, bearers.add(endpoint));
    }
    const addresses = this.#of(this.#byAddress, endpoint);
    for (const address of addressesOf(endpoint)) addresses.set(address, endpoint);
  }

  /** No error for what is not there. */
  remove(endpoint: Endpoint): void {
    const { network } = endpoint;
    const names = this.#byName.get(network.id);
    for (const name of keysOf(endpoint)) {
      const bearers = names?.get(name);
      if (bearers?.delete(endpoint) === true && bearers.size === 0) names?.delete(name);
    }
    const addresses = this.#byAddress.get(network.id);
    for (const address of addressesOf(endpoint)) {
      if (addresses?.get(address) === endpoint) addresses.delete(address);
    }
    if (names?.size === 0) this.#byName.delete(network.id);
    if (addresses?.size === 0) this.#byAddress.delete(network.id);
  }

  /**
   * Who bears a name, as seen from a sandbox with these endpoints: each network in turn, its links before its names,
   * then `name.network`. Undefined if nobody does.
   */
  find(own: Iterable<Endpoint>, asked: string): readonly Endpoint[] | undefined {
    const name = asked.toLowerCase();
    for (const endpoint of inGatewayOrder(own)) {
      const names = this.#byName.get(endpoint.network.id);
      if (names === undefined) continue;
      const suffix = `.${endpoint.network.name.toLowerCase()}`;
      const found =
        names.get(linkTarget(endpoint, name) ?? name) ??
        (name.endsWith(suffix) ? names.get(name.slice(0, -suffix.length)) : undefined);
      if (found !== undefined) return [...found];
    }
    return undefined;
  }

  /** The full name of who has an address on one of these endpoints' networks. */
  reverse(own: Iterable<Endpoint>, address: string): string | undefined {
    if (familyOf(address) === undefined) return undefined;
    const canonical = formatAddress(parseAddress(address));
    for (const { network } of inGatewayOrder(own)) {
      const found = this.#byAddress.get(network.id)?.get(canonical);
      if (found !== undefined) return `${found.dnsNames[0]}.${network.name}`;
    }
    return undefined;
  }

  #of<T>(map: Map<string, Map<string, T>>, { network }: Endpoint): Map<string, T> {
    const found = map.get(network.id) ?? new Map<string, T>();
    map.set(network.id, found);
    return found;
  }
}

function keysOf({ dnsNames }: Endpoint): string[] {
  return dnsNames.map((name) => name.toLowerCase());
}

function addressesOf({ address }: Endpoint): string[] {
  return [address.ipv4Address, address.ipv6Address].filter((text) => text !== "");
}

/** The container that one of the endpoint's `container:alias` links calls so. */
function linkTarget({ settings }: Endpoint, name: string): string | undefined {
  for (const link of settings.Links ?? []) {
    const [target = "", alias = target] = link.split(":");
    if (alias.toLowerCase() !== name) continue;
    // A full id is known by its first digits.
    return (/^[0-9a-f]{64}$/.test(target) ? target.slice(0, 12) : target).toLowerCase();
  }
  return undefined;
}

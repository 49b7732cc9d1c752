import { GantryError } from "../base/errors.ts";
import type { EndpointAddress, EndpointWish } from "./driver.ts";
import { AddressPool } from "./ipam.ts";
import type { AddressesRecord } from "./record.ts";
import { contains, type Family, parseAddress, parseSubnet, type Subnet } from "./subnet.ts";

/** One subnet of a network. */
export interface SubnetAddresses {
  readonly subnet: Subnet;
  readonly gateway: string;
  /** The members' way out, where it is not `gateway`. */
  readonly router?: string;
  readonly range?: Subnet;
  readonly reserved: readonly string[];
}

export interface AddressesOptions {
  readonly ipv4: readonly SubnetAddresses[];
  readonly ipv6: readonly SubnetAddresses[];
  /** What refusals call the network. */
  readonly network: string;
  /** Its members get no gateways. */
  readonly isCutOff: boolean;
}

interface Place {
  readonly pool: AddressPool;
  readonly gateway: string;
}

type Given = Omit<EndpointAddress, "macAddress">;

/** The addresses of all subnets of a network: each endpoint gets one of each family that there is. */
export class NetworkAddresses {
  readonly #places: { readonly 4: readonly Place[]; readonly 6: readonly Place[] };
  readonly #isCutOff: boolean;

  constructor({ ipv4, ipv6, network, isCutOff }: AddressesOptions) {
    const placeOf = ({ subnet, gateway, router = gateway, range, reserved }: SubnetAddresses): Place => {
      const others = [gateway, router, ...reserved].filter((address) => address !== "");
      return { pool: new AddressPool(subnet, { range, network, reserved: others }), gateway: router };
    };
    this.#places = { 4: ipv4.map(placeOf), 6: ipv6.map(placeOf) };
    this.#isCutOff = isCutOff;
  }

  /** Of both families, or nothing. */
  take({ owner, settings: { IPAMConfig: wanted } }: Pick<EndpointWish, "owner" | "settings">): Given {
    const four = this.#takeOne(4, owner, wanted?.IPv4Address);
    try {
      const six = this.#takeOne(6, owner, wanted?.IPv6Address);
      return {
        ipv4Address: four.address,
        prefix: four.prefix,
        gateway: four.gateway,
        ipv6Address: six.address,
        ipv6Prefix: six.prefix,
        ipv6Gateway: six.gateway,
      };
    } catch (error) {
      this.#give(4, four.address, owner);
      throw error;
    }
  }

  give({ ipv4Address, ipv6Address }: EndpointAddress, owner: string): void {
    this.#give(4, ipv4Address, owner);
    this.#give(6, ipv6Address, owner);
  }

  /** Marks what an earlier engine gave. */
  hold({ ipv4Address, ipv6Address }: EndpointAddress): void {
    for (const { pool } of this.#places[4]) if (ipv4Address !== "") pool.hold(ipv4Address);
    for (const { pool } of this.#places[6]) if (ipv6Address !== "") pool.hold(ipv6Address);
  }

  #takeOne(family: Family, owner: string, wanted: string | undefined) {
    const places = this.#places[family];
    if (places.length === 0) {
      if (!wanted) return { address: "", prefix: 0, gateway: "" };
      const why = `IPv${family} is not enabled`;
      throw new GantryError("invalid", `no configured subnet contains IP address ${wanted}: ${why}`);
    }
    const { place, address } = wanted ? claim(places, wanted) : takeNext(places, owner);
    return { address, prefix: place.pool.subnet.prefix, gateway: this.#isCutOff ? "" : place.gateway };
  }

  #give(family: Family, address: string, owner: string): void {
    if (address === "") return;
    for (const { pool } of this.#places[family]) pool.give(address, owner);
  }
}

function claim(places: readonly Place[], wanted: string): { place: Place; address: string } {
  const address = parseAddress(wanted);
  const place = places.find(({ pool }) => contains(pool.subnet, address)) ?? places[0]!;
  return { place, address: place.pool.claim(wanted) };
}

/** Of the first subnet that has one. */
function takeNext(places: readonly Place[], owner: string): { place: Place; address: string } {
  let failure: unknown;
  for (const place of places) {
    try {
      return { place, address: place.pool.take(owner) };
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

/** What a record says of one subnet. */
export function subnetAddresses(record: AddressesRecord): SubnetAddresses {
  return {
    subnet: parseSubnet(record.subnet),
    gateway: record.gateway,
    router: record.router,
    reserved: record.reserved ?? [],
    ...(record.range === undefined ? {} : { range: parseSubnet(record.range) }),
  };
}

import { GantryError } from "../base/errors.ts";
import {
  type Address,
  bitsOf,
  contains,
  formatAddress,
  formatSubnet,
  lastOf,
  parseAddress,
  type Subnet,
} from "./subnet.ts";

/** The addresses of one subnet: who holds which is the caller's to know, this only says which are free. */
export class AddressPool {
  readonly subnet: Subnet;
  /** Where addresses are taken from by themselves. */
  readonly #range: Subnet;
  readonly #held = new Set<bigint>();
  readonly #reserved = new Set<bigint>();
  /** Nothing in the range below it is free. */
  #lowest: bigint;

  /** Network, broadcast and `reserved` addresses are never given. */
  constructor(subnet: Subnet, options: { readonly range?: Subnet; readonly reserved?: readonly string[] } = {}) {
    this.subnet = subnet;
    this.#range = options.range ?? subnet;
    this.#lowest = this.#range.base;
    // Of IPv6 the first address is the routers' (RFC 4291, 2.6.1); there is no broadcast.
    if (subnet.prefix < bitsOf(subnet.family) - 1) {
      this.#reserved.add(subnet.base);
      if (subnet.family === 4) this.#reserved.add(lastOf(subnet));
    }
    for (const address of options.reserved ?? []) this.#reserved.add(parseAddress(address).value);
  }

  /** The lowest free address, as Docker gives them. */
  take(): string {
    const end = lastOf(this.#range);
    for (let value = this.#lowest; value <= end; value++) {
      if (!this.#isFree(value)) continue;
      this.#held.add(value);
      this.#lowest = value + 1n;
      return this.#text(value);
    }
    throw new GantryError(
      "internal",
      `no available IPv${this.subnet.family} addresses on this network's address pools: ${formatSubnet(this.#range)}`,
    );
  }

  /** Takes this one. Throws Docker's words for one that is taken, reserved or of another network. */
  claim(address: string): string {
    const wanted = parseAddress(address);
    if (!contains(this.subnet, wanted)) {
      throw new GantryError("invalid", `no configured subnet contains IP address ${address}`);
    }
    if (!this.#isFree(wanted.value)) throw new GantryError("forbidden", "Address already in use");
    this.#held.add(wanted.value);
    return formatAddress(wanted);
  }

  /** Marks an address that is known to be in use. */
  hold(address: string): void {
    const known = parseAddress(address);
    if (contains(this.subnet, known)) this.#held.add(known.value);
  }

  give(address: string): void {
    const { value } = parseAddress(address);
    if (this.#held.delete(value) && value >= this.#range.base && value < this.#lowest) this.#lowest = value;
  }

  #isFree(value: bigint): boolean {
    return !this.#held.has(value) && !this.#reserved.has(value);
  }

  #text(value: bigint): string {
    return formatAddress({ family: this.subnet.family, value });
  }
}

/** The first address that a host may have: what a network's gateway gets that nobody chose one for. */
export function firstHost(range: Subnet, subnet: Subnet): Address {
  const value = range.base === subnet.base ? range.base + 1n : range.base;
  return { family: subnet.family, value };
}

/** The hardware address that goes with an IP address, so that neighbours' caches stay right when it is reused. */
export function macOf(address: string): string {
  const { value } = parseAddress(address);
  const hex = (value & 0xffffffffn).toString(16).padStart(8, "0");
  return `02:42:${hex.replace(/(..)(?=.)/g, "$1:")}`;
}

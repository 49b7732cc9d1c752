import { GantryError } from "../base/errors.ts";
import { type Address, bitsOf, contains, formatAddress, lastOf, parseAddress, type Subnet } from "./subnet.ts";

/** How many of those that gave an address back are remembered. */
const MOST_FORMER = 1024;

export interface PoolOptions {
  /** Where addresses are taken from by themselves; the whole subnet if it is missing. */
  readonly range?: Subnet;
  /** Addresses of others. */
  readonly reserved?: readonly string[];
  /** What a refusal calls the network. */
  readonly network: string;
}

/** The addresses of one subnet: who holds which is the caller's to know, this only says which are free. */
export class AddressPool {
  readonly subnet: Subnet;
  readonly #range: Subnet;
  readonly #network: string;
  readonly #held = new Set<bigint>();
  readonly #reserved = new Set<bigint>();
  /** Where the search for the next one begins. */
  #next: bigint;
  /** By owner: what each has given back last, the longest ago first. */
  readonly #former = new Map<string, bigint>();

  /** Network, broadcast and `reserved` addresses are never given. */
  constructor(subnet: Subnet, options: PoolOptions) {
    this.subnet = subnet;
    this.#range = options.range ?? subnet;
    this.#network = options.network;
    this.#next = this.#range.base;
    // Of IPv6 the first address is the routers' (RFC 4291, 2.6.1); there is no broadcast.
    if (subnet.prefix < bitsOf(subnet.family) - 1) {
      this.#reserved.add(subnet.base);
      if (subnet.family === 4) this.#reserved.add(lastOf(subnet));
    }
    for (const address of options.reserved ?? []) this.#reserved.add(parseAddress(address).value);
  }

  /**
   * The one that `owner` gave back, if it is still free, so that who restarts is where it was; else the next free one
   * after that taken last, round and round: an address given back is not another's until all others have had their turn.
   */
  take(owner: string): string {
    const own = this.#former.get(owner);
    if (own !== undefined && this.#isFree(own)) return this.#hold(own);
    const { base } = this.#range;
    const end = lastOf(this.#range);
    const from = this.#next > end ? base : this.#next;
    const value = this.#freeOf(from, end) ?? this.#freeOf(base, from - 1n);
    if (value === undefined) {
      throw new GantryError(
        "internal",
        `no available IPv${this.subnet.family} addresses on this network's address pools: ${this.#network}`,
      );
    }
    this.#next = value + 1n;
    return this.#hold(value);
  }

  /** Takes this one. Throws Docker's words for one that is taken, reserved or of another network. */
  claim(address: string): string {
    const wanted = parseAddress(address);
    if (!contains(this.subnet, wanted)) {
      throw new GantryError("invalid", `no configured subnet contains IP address ${address}`);
    }
    if (!this.#isFree(wanted.value)) throw new GantryError("forbidden", "Address already in use");
    return this.#hold(wanted.value);
  }

  /** Marks an address that is known to be in use. */
  hold(address: string): void {
    const known = parseAddress(address);
    if (!contains(this.subnet, known)) return;
    this.#held.add(known.value);
    if (contains(this.#range, known) && known.value >= this.#next) this.#next = known.value + 1n;
  }

  /** `owner` may have it again. */
  give(address: string, owner: string): void {
    const { value } = parseAddress(address);
    if (!this.#held.delete(value)) return;
    this.#former.delete(owner);
    this.#former.set(owner, value);
    const [oldest] = this.#former.keys();
    if (this.#former.size > MOST_FORMER && oldest !== undefined) this.#former.delete(oldest);
  }

  #hold(value: bigint): string {
    this.#held.add(value);
    return formatAddress({ family: this.subnet.family, value });
  }

  /** Goes past no more than what is taken. */
  #freeOf(first: bigint, last: bigint): bigint | undefined {
    for (let value = first; value <= last; value++) if (this.#isFree(value)) return value;
    return undefined;
  }

  #isFree(value: bigint): boolean {
    return !this.#held.has(value) && !this.#reserved.has(value);
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

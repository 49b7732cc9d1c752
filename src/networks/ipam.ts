import { GantryError } from "../base/errors.ts";
import { contains, formatAddress, formatSubnet, parseAddress, type Subnet, sizeOf } from "./subnet.ts";

/** The addresses of one subnet: who holds which is the caller's to know, this only says which are free. */
export class AddressPool {
  readonly subnet: Subnet;
  readonly #held = new Set<number>();
  /** Nothing below it is free. */
  #lowest: number;

  /** Network, broadcast and `reserved` addresses are never given. */
  constructor(subnet: Subnet, reserved: readonly string[]) {
    this.subnet = subnet;
    this.#lowest = subnet.base + 1;
    for (const address of reserved) this.#held.add(parseAddress(address));
  }

  /** The lowest free address, as Docker gives them. */
  take(): string {
    const end = this.subnet.base + sizeOf(this.subnet) - 1;
    for (let address = this.#lowest; address < end; address++) {
      if (this.#held.has(address)) continue;
      this.#held.add(address);
      this.#lowest = address + 1;
      return formatAddress(address);
    }
    throw new GantryError(
      "internal",
      `no available IPv4 addresses on this network's address pools: ${formatSubnet(this.subnet)}`,
    );
  }

  /** Marks an address that is known to be in use. */
  hold(address: string): void {
    const number = parseAddress(address);
    if (contains(this.subnet, number)) this.#held.add(number);
  }

  give(address: string): void {
    const number = parseAddress(address);
    if (this.#held.delete(number)) this.#lowest = Math.min(this.#lowest, number);
  }
}

/** The hardware address that goes with an IPv4 address, so that neighbours' caches stay right when it is reused. */
export function macOf(address: string): string {
  const hex = address.split(".").map((byte) => Number(byte).toString(16).padStart(2, "0"));
  return `02:42:${hex.join(":")}`;
}

import { isIPv4 } from "node:net";
import { GantryError } from "../base/errors.ts";

/** An IPv4 network: its first address as an unsigned 32-bit number, and the length of its prefix. */
export interface Subnet {
  readonly base: number;
  readonly prefix: number;
}

/** Where subnets are taken from: `base` in CIDR, cut in pieces of prefix `size`. As in daemon.json. */
export interface AddressPoolConfig {
  readonly base: string;
  readonly size: number;
}

/** Docker's own. */
export const DEFAULT_POOLS: readonly AddressPoolConfig[] = [
  { base: "172.17.0.0/16", size: 16 },
  { base: "172.18.0.0/16", size: 16 },
  { base: "172.19.0.0/16", size: 16 },
  { base: "172.20.0.0/14", size: 16 },
  { base: "172.24.0.0/14", size: 16 },
  { base: "172.28.0.0/14", size: 16 },
  { base: "192.168.0.0/16", size: 20 },
];

export function parseAddress(text: string): number {
  if (!isIPv4(text)) throw new GantryError("invalid", `invalid IPv4 address: ${text}`);
  return text.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
}

export function formatAddress(address: number): string {
  return [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255].join(".");
}

/** The network that a CIDR lies in; host bits are let go. */
export function parseSubnet(cidr: string): Subnet {
  const [address = "", length = "", ...more] = cidr.split("/");
  const prefix = Number(length);
  if (!/^\d{1,2}$/.test(length) || prefix > 32 || more.length > 0)
    throw new GantryError("invalid", `invalid CIDR address: ${cidr}`);
  return { base: (parseAddress(address) & maskOf(prefix)) >>> 0, prefix };
}

export function formatSubnet({ base, prefix }: Subnet): string {
  return `${formatAddress(base)}/${prefix}`;
}

export function sizeOf(subnet: Subnet): number {
  return 2 ** (32 - subnet.prefix);
}

export function contains(subnet: Subnet, address: number): boolean {
  return address >= subnet.base && address < subnet.base + sizeOf(subnet);
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.base < b.base + sizeOf(b) && b.base < a.base + sizeOf(a);
}

/** The subnets of the pools in order, without those that overlap a taken one. */
export function* freeSubnets(pools: readonly AddressPoolConfig[], taken: readonly Subnet[]): Generator<Subnet> {
  for (const pool of pools) {
    const { base, prefix } = parseSubnet(pool.base);
    if (!Number.isInteger(pool.size) || pool.size < prefix || pool.size > 30) {
      throw new GantryError("invalid", `invalid size ${pool.size} of the default address pool ${pool.base}`);
    }
    const step = 2 ** (32 - pool.size);
    for (let index = 0; index < 2 ** (pool.size - prefix); index++) {
      const subnet = { base: base + index * step, prefix: pool.size };
      if (!taken.some((other) => overlaps(subnet, other))) yield subnet;
    }
  }
}

function maskOf(prefix: number): number {
  return prefix === 0 ? 0 : (-1 << (32 - prefix)) >>> 0;
}

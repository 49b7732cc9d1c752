import type { IpamConfig } from "../api/network.ts";
import { GantryError } from "../base/errors.ts";
import { firstHost } from "./ipam.ts";
import { type AddressesRecord, type NetworkRecord, subnetsOf } from "./record.ts";
import {
  type Address,
  type AddressPoolConfig,
  type Family,
  formatAddress,
  formatSubnet,
  freeSubnets,
  lastOf,
  overlaps,
  parseAddress,
  parseSubnet,
  type Subnet,
} from "./subnet.ts";

/** What a choice depends on. */
export interface SubnetChoice {
  readonly records: readonly NetworkRecord[];
  /** The pools of the engine's configuration, and one of unique local addresses (RFC 4193) after them. */
  readonly pools: readonly AddressPoolConfig[];
  /** What the host's addresses and routes cover. */
  readonly taken: () => readonly Subnet[];
}

/**
 * The subnet and gateway that a row of an IPAM configuration asks for or, without one, the next of the pools that
 * shadows nothing. `own` are the subnets of this engine's networks. Refuses in Docker's words.
 */
export function addressesFor(
  family: Family,
  row: IpamConfig | undefined,
  own: readonly Subnet[],
  context: SubnetChoice,
): AddressesRecord {
  if (row === undefined) {
    for (const subnet of freeSubnets(family, context.pools, [...context.taken(), ...own])) {
      return { subnet: formatSubnet(subnet), gateway: formatAddress(firstHost(subnet, subnet)) };
    }
    const text = family === 4 ? "all predefined address pools have been fully subnetted" : noPool(family);
    const remedy =
      "name one (--subnet), remove networks (network prune), or give the engine more (--default-address-pool)";
    throw new GantryError("invalid", `${text}: ${remedy}`);
  }
  const subnet = parseSubnet(row.Subnet);
  const other = own.find((one) => overlaps(subnet, one));
  if (other !== undefined) {
    const text = "invalid pool request: Pool overlaps with other one on this address space";
    throw new GantryError("forbidden", `${text}: ${row.Subnet} and ${whose(other, context)}`);
  }
  const range = row.IPRange ? parseSubnet(row.IPRange) : undefined;
  const reserved = reservedOf(row, subnet);
  return {
    subnet: formatSubnet(subnet),
    gateway: row.Gateway ? checkedGateway(row.Gateway, subnet) : freeGateway(subnet, range ?? subnet, reserved),
    ...(range === undefined ? {} : { range: formatSubnet(range) }),
    ...(reserved.length === 0 ? {} : { reserved }),
  };
}

/** A subnet with the network that has it; none has it where two of one request overlap. */
function whose(subnet: Subnet, { records }: SubnetChoice): string {
  const text = formatSubnet(subnet);
  const owner = records.find((record) => subnetsOf(record).some((one) => one.subnet === text));
  return owner === undefined ? text : `${text} of the network ${owner.name}`;
}

/** Addresses of others, each once, and none that nobody can have. */
function reservedOf({ AuxiliaryAddresses, Gateway }: IpamConfig, subnet: Subnet): string[] {
  const gateway = Gateway ? parseAddress(Gateway).value : undefined;
  const seen = new Set<bigint>();
  for (const [name, text] of Object.entries(AuxiliaryAddresses ?? {})) {
    const address = parseAddress(text);
    if (seen.has(address.value) || address.value === gateway || isUnusable(address, subnet)) {
      const what = `failed to allocate secondary ip address (${name}:${text})`;
      throw new GantryError("forbidden", `${what}: Address already in use`);
    }
    seen.add(address.value);
  }
  return Array.from(seen, (value) => formatAddress({ family: subnet.family, value }));
}

function noPool(family: Family): string {
  return `could not find an available, non-overlapping IPv${family} address pool among the defaults to assign to the network`;
}

function checkedGateway(text: string, subnet: Subnet): string {
  const gateway = parseAddress(text);
  if (isUnusable(gateway, subnet)) {
    throw new GantryError("forbidden", `failed to allocate gateway (${text}): Address already in use`);
  }
  return formatAddress(gateway);
}

function freeGateway(subnet: Subnet, range: Subnet, reserved: readonly string[]): string {
  const others = new Set(reserved);
  for (let { value } = firstHost(range, subnet); value <= lastOf(range); value++) {
    const text = formatAddress({ family: subnet.family, value });
    if (others.has(text) || isUnusable({ family: subnet.family, value }, subnet)) continue;
    return text;
  }
  throw new GantryError("invalid", "failed to allocate gateway (): No available addresses on this pool");
}

/** The subnet's own address, and an IPv4 network's broadcast. */
function isUnusable({ value }: Address, subnet: Subnet): boolean {
  const bits = subnet.family === 4 ? 32 : 128;
  if (subnet.prefix >= bits - 1) return false;
  return value === subnet.base || (subnet.family === 4 && value === lastOf(subnet));
}

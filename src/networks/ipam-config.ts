import type { IpamConfig } from "../api/network.ts";
import {
  contains,
  containsSubnet,
  formatAddress,
  formatSubnet,
  overlaps,
  parseAddress,
  parseSubnet,
  type Subnet,
} from "./subnet.ts";

/** Of loopbacks, groups and "this network" (RFC 6890). */
const NOBODYS = [
  ...["127.0.0.0/8", "224.0.0.0/4", "0.0.0.0/8", "::/127", "ff00::/8"],
  // Each link has the first, none the second: its packets are IPv4's.
  ...["fe80::/10", "::ffff:0:0/96"],
].map(parseSubnet);

/** What is wrong with one row of an IPAM configuration by itself, in Docker's words; empty for nothing. */
export function complaintsOf(row: IpamConfig, enableIPv6: boolean): string[] {
  const subnet = tryRead(parseSubnet, row.Subnet ?? "");
  if (subnet === undefined) return [`invalid subnet ${row.Subnet ?? ""}: invalid CIDR block notation`];
  if (subnet.family === 6 && !enableIPv6) return [];
  const wrong: string[] = [];
  const complain = (what: string, why: string | undefined) => {
    if (why !== undefined) wrong.push(`invalid ${what}: ${why}`);
  };
  const unusable = NOBODYS.find((range) => overlaps(range, subnet));
  complain(`subnet ${row.Subnet}`, unusable && `containers can have no addresses of ${formatSubnet(unusable)}`);
  complain(`subnet ${row.Subnet}`, wrongForm(row.Subnet, subnet));
  if (row.IPRange) complain(`ip-range ${row.IPRange}`, wrongRange(row.IPRange, subnet, row.Subnet));
  const check = (what: string, text: string) => complain(`${what} ${text}`, wrongAddress(text, subnet, row.Subnet));
  if (row.Gateway) check("gateway", row.Gateway);
  for (const text of Object.values(row.AuxiliaryAddresses ?? {})) check("auxiliary address", text);
  return wrong;
}

function wrongRange(text: string, parent: Subnet, parentText: string): string | undefined {
  const range = tryRead(parseSubnet, text);
  if (range === undefined) return "invalid CIDR block notation";
  if (range.family !== parent.family) return `parent subnet is an IPv${parent.family} block`;
  if (range.prefix < parent.prefix) return `CIDR block is bigger than its parent subnet ${parentText}`;
  const form = wrongForm(text, range);
  if (form !== undefined || containsSubnet(parent, range)) return form;
  return `parent subnet ${parentText} doesn't contain ip-range`;
}

function wrongAddress(text: string, parent: Subnet, parentText: string): string | undefined {
  const address = tryRead(parseAddress, text);
  if (address === undefined) return "invalid address";
  if (address.family !== parent.family) return `parent subnet is an IPv${parent.family} block`;
  return contains(parent, address) ? undefined : `parent subnet ${parentText} doesn't contain this address`;
}

/** Bits of a host in what is to be a subnet. */
function wrongForm(text: string, subnet: Subnet): string | undefined {
  const right = formatSubnet(subnet);
  return right === canonical(text) ? undefined : `it should be ${right}`;
}

/** The CIDR's address in its shortest form, host bits and all. */
function canonical(cidr: string): string {
  const [address = "", prefix = ""] = cidr.split("/");
  return `${formatAddress(parseAddress(address))}/${Number(prefix)}`;
}

function tryRead<T>(read: (text: string) => T, text: string): T | undefined {
  try {
    return read(text);
  } catch {
    return undefined;
  }
}

import { GantryError, hasCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Link, Netlink } from "../kernel/netlink.ts";
import { subnetAddresses } from "./addresses.ts";
import type { Bridge } from "./bridge.ts";
import { readBridgeOptions } from "./bridge-options.ts";
import { bridgeMac } from "./default-bridge.ts";
import { type BridgeRecord, type NetworkRecord, networkLabel } from "./record.ts";
import { allowIPv6, writeSysctl } from "./sandbox.ts";
import { parseSubnet } from "./subnet.ts";

export interface UserBridgeContext {
  readonly engineId: string;
  /** Of networks that say nothing of it. */
  readonly mtu: number;
}

/** Finds the bridge of a user's network or makes it, with just the addresses of its record. */
export function openUserBridge(netlink: Netlink, record: NetworkRecord, context: UserBridgeContext): Bridge {
  const own = record.bridge;
  if (own === undefined) throw new GantryError("internal", `cannot open the network ${record.name}: it has no bridge`);
  const options = readBridgeOptions(record.options, record.internal);
  const mtu = options.mtu === 0 ? context.mtu : options.mtu;
  const { link, isMade } = ensureLink(netlink, own, { mac: bridgeMac(context.engineId, record.id), mtu });
  const isForeign = own.isForeign === true && !isMade;
  try {
    failpoint("networks.create.linked");
    const alias = isMade ? { alias: `gantry-${context.engineId} ${record.name.slice(0, 64)}` } : {};
    settleAddresses(netlink, link, own, {
      isMade,
      isForeign,
      inhibitIPv4: options.inhibitIPv4 || options.gatewayMode4 === "isolated",
      inhibitIPv6: options.gatewayMode6 === "isolated",
      ...alias,
    });
  } catch (error) {
    if (isMade) netlink.deleteLink(link.index);
    throw error;
  }
  return {
    network: networkLabel(record),
    index: link.index,
    interface: link.name,
    isForeign,
    mtu,
    ipv4: own.ipv4 && subnetAddresses(own.ipv4),
    ipv6: own.ipv6 && subnetAddresses(own.ipv6),
    internal: record.internal,
    neighbours: options.neighbours,
    masquerade: options.masquerade,
    gatewayModes: { ipv4: options.gatewayMode4, ipv6: options.gatewayMode6 },
    trustedInterfaces: options.trustedInterfaces,
    hostBinding: options.hostBinding,
    insidePrefix: options.insidePrefix,
  };
}

function ensureLink(
  netlink: Netlink,
  { interface: name, isForeign }: BridgeRecord,
  wish: { readonly mac: string; readonly mtu: number },
): { link: Link; isMade: boolean } {
  const present = netlink.link(name);
  if (present !== undefined) {
    if (present.kind !== "bridge") throw new GantryError("invalid", `existing interface ${name} is not a bridge`);
    if (isForeign !== true && present.mac !== wish.mac) {
      throw new GantryError("conflict", `cannot make the bridge ${name}: another program has one of this name`);
    }
    return { link: present, isMade: false };
  }
  try {
    netlink.createBridge(name, wish);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
    throw new GantryError("conflict", `cannot make the bridge ${name}: another program has just made one of this name`);
  }
  // Before it is up, so that the kernel gives it no addresses of its own.
  writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
  const made = netlink.link(name);
  if (made === undefined) throw new GantryError("internal", `the bridge ${name} is gone as soon as it was made`);
  return { link: made, isMade: true };
}

/** Brings it up. A bridge of somebody else's keeps what it had. */
function settleAddresses(
  netlink: Netlink,
  link: Link,
  { ipv4, ipv6 }: BridgeRecord,
  options: {
    readonly isMade: boolean;
    readonly isForeign: boolean;
    readonly inhibitIPv4: boolean;
    readonly inhibitIPv6: boolean;
    readonly alias?: string;
  },
): void {
  const wanted = [options.inhibitIPv4 ? undefined : ipv4, options.inhibitIPv6 ? undefined : ipv6].flatMap(
    (addresses) =>
      addresses === undefined ? [] : { address: addresses.gateway, prefix: parseSubnet(addresses.subnet).prefix },
  );
  if (ipv6 !== undefined && !options.inhibitIPv6) allowIPv6(link.name);
  const isSame = (a: { address: string; prefix: number }, b: { address: string; prefix: number }) =>
    a.address === b.address && a.prefix === b.prefix;
  const present = options.isMade ? [] : netlink.addresses(link.index);
  for (const row of present) {
    if (options.isForeign || row.address.startsWith("fe80:") || wanted.some((one) => isSame(one, row))) continue;
    netlink.deleteAddress(row);
  }
  const missing = wanted.filter((one) => !present.some((row) => isSame(one, row)));
  netlink.configureLink(link.index, missing, [], options.alias === undefined ? {} : { alias: options.alias });
}

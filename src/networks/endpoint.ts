import type { EndpointSettings } from "../api/container.ts";
import { EMPTY_ENDPOINT } from "../api/endpoint.ts";
import type { NetworkContainer } from "../api/network.ts";
import { GantryError } from "../base/errors.ts";
import type { EndpointAddress } from "./driver.ts";
import { type EndpointOptions, readEndpointOptions } from "./endpoint-options.ts";
import { isPredefined, type NetworkRecord } from "./record.ts";
import { contains, type Family, familyOf, parseAddress, parseSubnet } from "./subnet.ts";

/** Loopbacks, groups, and no address at all. */
const NO_INTERFACES = ["127.0.0.0/8", "224.0.0.0/3", "0.0.0.0/8", "::/127", "ff00::/8", "::ffff:0:0/96"].map(
  parseSubnet,
);
const MOST_LINK_LOCALS = 64;

/** A container's membership of one network. */
export interface Endpoint {
  readonly id: string;
  readonly network: NetworkRecord;
  readonly containerId: string;
  readonly containerName: string;
  /** The user's wishes. */
  readonly settings: Partial<EndpointSettings>;
  /** By what names it is found on a network of the user's. The first one answers for its address. */
  readonly dnsNames: readonly string[];
  readonly address: EndpointAddress;
}

/** Its row in the network's inspect. */
export function containerRow({ id, containerName, address }: Endpoint): NetworkContainer {
  return {
    Name: containerName,
    EndpointID: id,
    MacAddress: address.macAddress,
    IPv4Address: address.ipv4Address === "" ? "" : `${address.ipv4Address}/${address.prefix}`,
    IPv6Address: address.ipv6Address === "" ? "" : `${address.ipv6Address}/${address.ipv6Prefix}`,
  };
}

/** Its part of the container's inspect. */
export function settingsOf({ id, network, settings, dnsNames, address }: Endpoint): EndpointSettings {
  return {
    ...EMPTY_ENDPOINT,
    IPAMConfig: settings.IPAMConfig ?? null,
    Links: settings.Links ?? null,
    Aliases: settings.Aliases ?? null,
    MacAddress: address.macAddress,
    DriverOpts: settings.DriverOpts ?? null,
    GwPriority: settings.GwPriority ?? 0,
    NetworkID: network.id,
    EndpointID: id,
    Gateway: address.gateway,
    IPAddress: address.ipv4Address,
    IPPrefixLen: address.prefix,
    IPv6Gateway: address.ipv6Gateway,
    GlobalIPv6Address: address.ipv6Address,
    GlobalIPv6PrefixLen: address.ipv6Prefix,
    DNSNames: isPredefined(network) ? null : [...dnsNames],
  };
}

/** What `settingsOf` made of an address. */
export function addressOf(settings: EndpointSettings): EndpointAddress {
  return {
    ipv4Address: settings.IPAddress,
    prefix: settings.IPPrefixLen,
    gateway: settings.Gateway,
    ipv6Address: settings.GlobalIPv6Address,
    ipv6Prefix: settings.GlobalIPv6PrefixLen,
    ipv6Gateway: settings.IPv6Gateway,
    macAddress: settings.MacAddress,
  };
}

/** Name, aliases, short id and host name, each once. */
export function dnsNamesOf(
  containerId: string,
  containerName: string,
  hostname: string,
  aliases: readonly string[] | null | undefined,
): string[] {
  return [...new Set([containerName, ...(aliases ?? []), containerId.slice(0, 12), hostname])].filter(
    (name) => name !== "",
  );
}

/** Refuses what no endpoint of the network could be, in Docker's words. */
export function checkSettings(network: NetworkRecord, settings: Partial<EndpointSettings>): void {
  const ipam = settings.IPAMConfig;
  const fixed = [
    [4, ipam?.IPv4Address],
    [6, ipam?.IPv6Address],
  ] as const;
  for (const [family, text] of fixed) {
    if (text && familyOf(text) !== family)
      throw new GantryError("invalid", `invalid IPv${family} address: ${cut(text)}`);
  }
  checkLinkLocals(ipam?.LinkLocalIPs ?? []);
  if (settings.MacAddress) checkMac(settings.MacAddress);
  if (settings.MacAddress && network.driver === "ipvlan") {
    throw new GantryError("invalid", "ipvlan interfaces do not support custom mac address assignment");
  }
  checkIPv6(network, readEndpointOptions(settings.DriverOpts));
  if (isPredefined(network)) {
    if (fixed.some(([, text]) => text)) {
      throw new GantryError("invalid", "user specified IP address is supported on user defined networks only");
    }
    if ((settings.Aliases ?? []).length > 0) {
      throw new GantryError("invalid", "network-scoped aliases are only supported for user-defined networks");
    }
  }
  for (const [family, text] of fixed) if (text) checkFixed(network, family, text);
}

function checkFixed({ ipam, bridge, shared }: NetworkRecord, family: Family, text: string): void {
  const subnets = ipam.config.map(({ Subnet }) => parseSubnet(Subnet)).filter((subnet) => subnet.family === family);
  const isOn =
    family === 4
      ? bridge?.ipv4 !== undefined || (shared?.ipv4 ?? []).length > 0
      : bridge?.ipv6 !== undefined || (shared?.ipv6 ?? []).length > 0;
  if (subnets.length === 0 || !isOn) {
    throw new GantryError(
      "invalid",
      "user specified IP address is supported only when connecting to networks with user configured subnets",
    );
  }
  if (!subnets.some((subnet) => contains(subnet, parseAddress(text)))) {
    throw new GantryError("invalid", `no configured subnet contains IP address ${text}`);
  }
}

/** Others than link-local ones are taken, as by Docker, but none that no interface can have. */
function checkLinkLocals(texts: readonly string[]): void {
  if (texts.length > MOST_LINK_LOCALS) {
    throw new GantryError("invalid", `too many link-local IP addresses: an endpoint has ${MOST_LINK_LOCALS} at most`);
  }
  const seen = new Set<bigint>();
  for (const text of texts) {
    const address = familyOf(text) === undefined ? undefined : parseAddress(text);
    if (address === undefined || seen.has(address.value) || NO_INTERFACES.some((range) => contains(range, address))) {
      throw new GantryError("invalid", `invalid link-local IP address: ${cut(text)}`);
    }
    seen.add(address.value);
  }
}

function checkIPv6({ name, bridge, shared }: NetworkRecord, { sysctls }: EndpointOptions): void {
  if (bridge?.ipv6 === undefined && (shared?.ipv6 ?? []).length === 0) return;
  const off = sysctls.find(({ value, pathOf }) => pathOf("").endsWith("/disable_ipv6") && value !== "0");
  if (off === undefined) return;
  throw new GantryError("invalid", `cannot set ${cut(off.text)} of an endpoint: the network ${name} gives it IPv6`);
}

function checkMac(text: string): void {
  const isUnicast = (Number.parseInt(text.slice(0, 2), 16) & 1) === 0;
  if (/^00(.00){5}$/.test(text)) throw new GantryError("invalid", `invalid MAC address: ${cut(text)}`);
  if (/^[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}$/i.test(text) && isUnicast) return;
  throw new GantryError("invalid", `invalid MAC address: ${cut(text)}`);
}

function cut(text: string): string {
  return text.slice(0, 100);
}

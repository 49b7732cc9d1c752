import type { EndpointSettings } from "../../api/container.ts";
import { EMPTY_ENDPOINT } from "../../api/endpoint.ts";
import { csvFields } from "../../base/csv.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { isAddress } from "./address.ts";
import { cutAt } from "./cut-at.ts";

/** One `--network`, short or long. */
interface Attachment {
  target: string;
  aliases: string[];
  links: string[];
  linkLocal: string[];
  driverOpts: Record<string, string>;
  ip: string;
  ip6: string;
  mac: string;
  priority: number;
}

function attachment(target: string): Attachment {
  return { target, aliases: [], links: [], linkLocal: [], driverOpts: {}, ip: "", ip6: "", mac: "", priority: 0 };
}

/** Reads `name` or `name=net,alias=a,ip=…`. */
export function parseNetwork(text: string): Attachment {
  if (!/\w+=\w+(,\w+=\w+)*/.test(text)) return attachment(text);
  const found = attachment("");
  for (const field of csvFields(text)) {
    const [name, given] = cutAt(field.trim(), "=");
    const key = name.trim().toLowerCase();
    if (given === undefined || key === "") throw new Error(`invalid field ${field}`);
    const value = given.trim();
    if (key === "name") found.target = value;
    else if (key === "alias") found.aliases.push(value);
    else if (key === "link-local-ip") found.linkLocal.push(value);
    else if (key === "ip") found.ip = value;
    else if (key === "ip6") found.ip6 = value;
    else if (key === "mac-address") found.mac = value;
    else if (key === "driver-opt") {
      const [option, setting] = cutAt(value, "=");
      if (setting === undefined || option === "") throw new Error("invalid key value pair format in driver options");
      found.driverOpts[option.trim().toLowerCase()] = setting.trim().toLowerCase();
    } else if (key === "gw-priority") {
      if (!/^[+-]?\d+$/.test(value)) throw new Error(`invalid gw-priority (${value}): invalid syntax`);
      if (!Number.isSafeInteger(Number(value))) throw new Error(`invalid gw-priority (${value}): value out of range`);
      found.priority = Number(value);
    } else throw new Error(`invalid field key ${key}`);
  }
  if (found.target === "") throw new Error("network name/id is not specified");
  return found;
}

export interface Networking {
  readonly mode: string;
  readonly endpoints: Record<string, EndpointSettings>;
}

/** The endpoints of a create request; flags without a network of their own count for the first one. */
export function parseNetworking(flags: ParsedFlags): Networking {
  const given = flags.list("network").map(parseNetwork);
  const networks = given.length === 0 ? [attachment("default")] : given;
  const endpoints: Record<string, EndpointSettings> = {};
  const kinds = new Set<boolean>();
  networks.forEach((network, at) => {
    kinds.add(isUserDefined(network.target));
    if (kinds.size > 1) {
      throw new Error("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
    }
    if (at === 0) applyFlags(network, flags);
    if (network.target in endpoints)
      throw new Error(`network ${JSON.stringify(network.target)} is specified multiple times`);
    const endpoint = endpointOf(network);
    // Docker's client leaves out the empty endpoint of one flag alone, unless it names a network of the user.
    const empty = endpoint.IPAMConfig === null && endpoint.MacAddress === "" && endpoint.DriverOpts === null;
    if (!empty || given.length !== 1 || isUserDefined(network.target)) endpoints[network.target] = endpoint;
  });
  return { mode: networks[0]?.target ?? "default", endpoints };
}

function isUserDefined(mode: string): boolean {
  return !["default", "bridge", "host", "none", "", "nat"].includes(mode) && !mode.startsWith("container:");
}

function applyFlags(network: Attachment, flags: ParsedFlags): void {
  const clash = (flag: string, what: string): Error =>
    new Error(`conflicting options: cannot specify both --${flag} and per-network ${what}`);
  const aliases = flags.list("network-alias");
  if (aliases.length > 0 && network.aliases.length > 0) throw clash("network-alias", "alias");
  if (flags.text("ip") !== "" && network.ip !== "") throw clash("ip", "IPv4 address");
  if (flags.text("ip6") !== "" && network.ip6 !== "") throw clash("ip6", "IPv6 address");
  if (flags.text("mac-address") !== "" && network.mac !== "") throw clash("mac-address", "MAC address");
  if (flags.list("link-local-ip").length > 0 && network.linkLocal.length > 0) {
    throw clash("link-local-ip", "link-local IP addresses");
  }
  network.aliases.push(...aliases);
  if (isUserDefined(network.target)) network.links.push(...flags.list("link"));
  network.ip ||= flags.text("ip");
  network.ip6 ||= flags.text("ip6");
  network.mac ||= flags.text("mac-address");
  network.linkLocal.push(...flags.list("link-local-ip"));
}

function endpointOf(network: Attachment): EndpointSettings {
  if (network.target.trim() === "") throw new Error("no name set for network");
  if (!isUserDefined(network.target) && network.aliases.length > 0) {
    throw new Error("network-scoped aliases are only supported for user-defined networks");
  }
  if (network.mac !== "") checkMac(network.mac);
  const ipam = {
    ...(network.ip === "" ? {} : { IPv4Address: network.ip }),
    ...(network.ip6 === "" ? {} : { IPv6Address: network.ip6 }),
    ...(network.linkLocal.length === 0 ? {} : { LinkLocalIPs: network.linkLocal }),
  };
  return {
    ...EMPTY_ENDPOINT,
    IPAMConfig: Object.keys(ipam).length === 0 ? null : ipam,
    Links: network.links.length === 0 ? null : network.links,
    Aliases: network.aliases.length === 0 ? null : network.aliases,
    MacAddress: network.mac,
    DriverOpts: Object.keys(network.driverOpts).length === 0 ? null : network.driverOpts,
    GwPriority: network.priority,
  };
}

export function checkMac(text: string): string {
  if (
    /^([0-9a-f]{2}([:-])[0-9a-f]{2}(\2[0-9a-f]{2}){4,})$/i.test(text) ||
    /^([0-9a-f]{4}\.){2}[0-9a-f]{4}$/i.test(text)
  )
    return text;
  throw new Error(`${text} is not a valid mac address`);
}

/** `host:ip` or `host=ip`, IPv6 with or without brackets; the answer has the colon. */
export function checkExtraHost(text: string): string {
  const at = text.search(/[=:]/);
  if (at < 1) throw new Error(`bad format for add-host: ${JSON.stringify(text)}`);
  const host = text.slice(0, at);
  const address = text.slice(at + 1).replace(/^\[(.*)\]$/, "$1");
  if (address !== "host-gateway" && !isAddress(address)) {
    throw new Error(`invalid IP address in add-host: ${JSON.stringify(address)}`);
  }
  return `${host}:${address}`;
}

export function checkLink(text: string): string {
  const parts = text.split(":");
  if (text === "") throw new Error("empty string specified for links");
  if (parts.length > 2) throw new Error(`bad format for links: ${text}`);
  if (parts.length === 1) return text;
  // Kept as older clients sent it: the full form of the API, with slashes.
  return parts.length === 2 && text.startsWith("/") ? `${parts[0]?.slice(1)}:${parts[1]?.split("/").at(-1)}` : text;
}

export function checkAddress(text: string): string {
  if (!isAddress(text.trim())) throw new Error(`IP address is not correctly formatted: ${text}`);
  return text.trim();
}

export function checkSearchDomain(text: string): string {
  const domain = text.trim();
  if (domain === ".") return domain;
  if (
    domain.length > 255 ||
    !/^(:?(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))(:?\.(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])))*)\.?\s*$/.test(
      domain,
    )
  ) {
    throw new Error(`${domain} is not a valid domain`);
  }
  return domain;
}

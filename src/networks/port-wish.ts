import { isIPv4, isIPv6 } from "node:net";
import { GantryError } from "../base/errors.ts";
import type { Protocol } from "./firewall.ts";
import type { PortRequest } from "./network.ts";
import { formatAddress, parseAddress } from "./subnet.ts";

/** One binding that is asked for, read and checked. */
export interface PortWish {
  readonly key: string;
  readonly protocol: Protocol;
  readonly containerPort: number;
  /** Concrete host addresses; the port is the same at all of them. */
  readonly hostIps: readonly string[];
  /** Of the family IPv6 only if the host has it: an address of these that can't be bound is left out. */
  readonly optionalIps: readonly string[];
  /** First and last candidate; undefined asks for any. */
  readonly range: readonly [number, number] | undefined;
}

/**
 * What the request comes to, in the order of ports; `unpublished` are the keys that are only exposed. `hostBinding` is
 * the host's address for bindings that name none; "" for all of them.
 */
export function readPortRequest(
  request: PortRequest,
  hostBinding: string,
): { wishes: PortWish[]; unpublished: string[] } {
  const wishes: PortWish[] = [];
  const unpublished: string[] = [];
  const keys = new Set([...Object.keys(request.bindings), ...request.exposed].map(normalKey));
  const bindings = new Map(Object.entries(request.bindings).map(([key, value]) => [normalKey(key), value ?? []]));
  for (const key of [...keys].sort(byPort)) {
    const { port, protocol } = parseKey(key);
    let wanted = bindings.get(key) ?? [];
    if (wanted.length === 0 && request.publishAll) wanted = [{ HostIp: "", HostPort: "" }];
    if (wanted.length === 0) unpublished.push(key);
    for (const { HostIp, HostPort } of wanted) {
      wishes.push({
        key,
        protocol,
        containerPort: port,
        ...readHostIp(HostIp || hostBinding),
        range: readRange(HostPort ?? ""),
      });
    }
  }
  return { wishes, unpublished };
}

function normalKey(key: string): string {
  return key.includes("/") ? key.toLowerCase() : `${key}/tcp`;
}

/** A container's port: `80`, `80/tcp`, `53/UDP`. Throws invalid. */
export function readContainerPort(text: string): { port: number; protocol: Protocol } {
  return parseKey(normalKey(text));
}

function parseKey(key: string): { port: number; protocol: Protocol } {
  const [port = "", protocol = ""] = key.split("/");
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") {
    throw new GantryError("invalid", `invalid proto: ${protocol}`);
  }
  const number = readPort(port);
  if (number === undefined || number === 0) throw new GantryError("invalid", `invalid port specification: "${key}"`);
  return { port: number, protocol };
}

function byPort(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1);
}

function readHostIp(text: string): { hostIps: string[]; optionalIps: string[] } {
  const address = text.replace(/^\[(.*)\]$/, "$1");
  if (address === "") return { hostIps: ["0.0.0.0"], optionalIps: ["::"] };
  if (!isIPv4(address) && (!isIPv6(address) || address.includes("%"))) {
    throw new GantryError("invalid", `invalid IP address: ${text}`);
  }
  return { hostIps: [shortest(address)], optionalIps: [] };
}

/** An address has one writing from here on; one of IPv4 in IPv6's clothes (::ffff:10.0.0.1) is one of IPv4. */
function shortest(text: string): string {
  const address = parseAddress(text);
  const isClothed = address.family === 6 && address.value >> 32n === 0xffffn;
  return formatAddress(isClothed ? { family: 4, value: address.value & 0xffff_ffffn } : address);
}

function readRange(text: string): readonly [number, number] | undefined {
  if (text === "" || text === "0") return undefined;
  const [first, last = first] = text.split("-");
  const from = readPort(first ?? "");
  const to = readPort(last ?? "");
  if (from === undefined || to === undefined || from === 0 || to < from || text.split("-").length > 2) {
    throw new GantryError("invalid", `invalid port specification: "${text}"`);
  }
  return [from, to];
}

function readPort(text: string): number | undefined {
  if (!/^\d{1,5}$/.test(text)) return undefined;
  const number = Number(text);
  return number <= 65_535 ? number : undefined;
}

import { lookup as lookupAddresses } from "node:dns/promises";
import { BlockList, isIP, isIPv6 } from "node:net";
import { ruleOf } from "./registry-rules.ts";
import type { RemotePorts } from "./settings.ts";

const LOOPBACK: readonly string[] = ["127.0.0.0/8", "::1/128"];

/**
 * True for a registry that need not prove itself: named in the configuration, or with an address in one of its ranges
 * or on loopback. A host that cannot be looked up is none.
 */
export async function isInsecure(host: string, ports: RemotePorts): Promise<boolean> {
  const { insecureRegistries, registries } = ports.settings();
  if (insecureRegistries.includes(host) || ruleOf(registries, host, "")?.insecure === true) return true;
  return isInRanges(host, [...LOOPBACK, ...insecureRegistries], ports);
}

/** True for a host that a list names, or that has an address in one of the ranges in it. */
export async function isAmong(host: string, list: readonly string[], ports: RemotePorts): Promise<boolean> {
  return list.includes(host) || (await isInRanges(host, list, ports));
}

async function isInRanges(host: string, list: readonly string[], ports: RemotePorts): Promise<boolean> {
  const ranges = list.filter((name) => /\/\d+$/.test(name));
  if (ranges.length === 0) return false;
  const name = hostnameOf(host);
  const blocks = blockListOf(ranges);
  const addresses = isIP(name) === 0 ? await addressesOf(name, ports) : [name];
  return addresses.some((address) => blocks.check(address, isIPv6(address) ? "ipv6" : "ipv4"));
}

/** `registry.example:5000` without its port, `[::1]:5000` without brackets. */
function hostnameOf(host: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(host)?.[1];
  return bracketed ?? host.replace(/:\d+$/, "");
}

/** Ranges that aren't any are passed over: the configuration was read before it came here. */
export function blockListOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = "", prefix = ""] = range.split("/");
    const family = isIP(address);
    const bits = Number(prefix);
    if (family === 0 || prefix === "" || !Number.isInteger(bits) || bits < 0 || bits > (family === 6 ? 128 : 32))
      continue;
    list.addSubnet(address, bits, family === 6 ? "ipv6" : "ipv4");
  }
  return list;
}

async function addressesOf(name: string, ports: RemotePorts): Promise<readonly string[]> {
  if (name === "localhost") return ["127.0.0.1"];
  const lookup = ports.lookup ?? ((host: string) => lookupAddresses(host, { all: true }));
  try {
    return (await lookup(name)).map(({ address }) => address);
  } catch {
    return [];
  }
}

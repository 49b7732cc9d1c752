import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";

/** A resolv.conf(5) as far as it matters here. */
interface ResolvConf {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** Where a query goes that the engine can't answer. */
export interface Upstream {
  readonly address: string;
  /** Asked from inside the container's network; else from the host's. */
  readonly isInside: boolean;
}

const HOST_FILE = "/etc/resolv.conf";
const LAST_RESORT = ["8.8.8.8", "8.8.4.4"] as const;
/** The kernel's clock is asked, not the file, at most once in so many milliseconds. */
const FRESH_MS = 1000;

function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let search: string[] = [];
  let options: string[] = [];
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === "nameserver" && isIP(rest[0] ?? "") !== 0) servers.push(rest[0]!);
    else if (word === "search" || word === "domain") search = rest;
    else if (word === "options") options = [...options, ...rest];
  }
  return { servers, search, options };
}

/** The host's, as it is now. */
export function hostResolvConf(path = HOST_FILE): ResolvConf {
  try {
    return parseResolvConf(readFileSync(path, "utf8"));
  } catch {
    return { servers: [], search: [], options: [] };
  }
}

/** True for an address that means whoever uses it. */
function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

/** True for an address that means something on the host alone: its loopback, or what is on one of its links. */
export function isHostsOwn(address: string): boolean {
  return isLoopback(address) || address.includes("%");
}

/** The host's name servers: a change of its file is seen within a second. */
export class HostServers {
  #servers: readonly string[] = [];
  #stamp = "";
  #lookedAt = Number.NEGATIVE_INFINITY;

  get(): readonly string[] {
    const now = performance.now();
    if (now - this.#lookedAt < FRESH_MS) return this.#servers;
    this.#lookedAt = now;
    const stamp = stampOf(HOST_FILE);
    if (stamp === this.#stamp) return this.#servers;
    this.#stamp = stamp;
    this.#servers = hostResolvConf().servers;
    return this.#servers;
  }
}

/**
 * Servers that the user chose are asked as the container would: from its own network. So are the host's, except for
 * those on the host's loopback or a link of it, which are nobody else's, and IPv6 ones of containers that have none.
 */
export function upstreamsOf(chosen: readonly string[], host: readonly string[], hasIPv6: boolean): Upstream[] {
  const reaches = (address: string) => !address.includes(":") || hasIPv6;
  if (chosen.length > 0)
    return chosen.map((address) => ({ address, isInside: reaches(address) || isLoopback(address) }));
  const servers = host.length > 0 ? host : LAST_RESORT;
  return servers.map((address) => ({ address, isInside: !isHostsOwn(address) && reaches(address) }));
}

function stampOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
}

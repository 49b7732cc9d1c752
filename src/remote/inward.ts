import { lookup as lookupAddresses } from "node:dns/promises";
import { type BlockList, isIP, type LookupFunction } from "node:net";
import { GantryError } from "../base/errors.ts";
import { blockListOf } from "./insecure.ts";
import type { RemotePorts } from "./settings.ts";

/**
 * Addresses that mean another thing on each machine: itself, its link, and where clouds tell a machine its keys. What
 * listens there believes whoever can ask.
 */
const INWARD: BlockList = blockListOf([
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "100.100.100.200/32",
  "168.63.129.16/32",
  "192.0.0.192/32",
  "::/128",
  "::1/128",
  "fe80::/10",
  "fd00:ec2::254/128",
  "fd20:ce::254/128",
]);
/** Hosts whose answers are remembered. */
const MOST_HOSTS = 1000;

/** A URL that a registry gave us: where a redirect, a token server, an upload or a foreign layer lies. */
export interface Given {
  readonly url: URL;
  /** `host[:port]` of the registry that gave it. */
  readonly by: string;
}

/**
 * Keeps registries from sending anybody to inward addresses, unless they answer from one themselves or the configuration
 * names the host as insecure. Where a registry is, is what its connections told: whoever has a name has a say in what
 * that is looked up as, anew each time.
 */
export class Inward {
  readonly #ports: RemotePorts;
  /** Whether all answers of a host came from inward addresses. */
  readonly #hosts = new Map<string, boolean>();

  constructor(ports: RemotePorts) {
    this.#ports = ports;
  }

  /** Notes where an answer of a host came from, without a proxy between. */
  answered(host: string, address: string): void {
    const isInward = this.#hosts.get(host) !== false && contains(INWARD, address);
    this.#hosts.delete(host);
    this.#hosts.set(host, isInward);
    const [oldest] = this.#hosts.keys();
    if (this.#hosts.size > MOST_HOSTS && oldest !== undefined) this.#hosts.delete(oldest);
  }

  /** Throws `forbidden` for a URL with an inward address. */
  refuse(given: Given): void {
    const address = addressIn(given.url.hostname);
    if (address !== undefined) this.refuseAddress(given, address);
  }

  /** The same for an address that the URL's name was found to have. */
  refuseAddress({ by, url }: Given, address: string): void {
    if (!contains(INWARD, address) || this.#isInward(by)) return;
    const { insecureRegistries, registries } = this.#ports.settings();
    if (insecureRegistries.includes(url.host) || registries[url.host]?.insecure === true) return;
    if (contains(blockListOf(insecureRegistries), address)) return;
    throw new GantryError(
      "forbidden",
      `cannot follow ${by} to ${url.host}: ${address} is an address of this machine alone, or of its link; add ${url.host} to insecure-registries if it is meant`,
    );
  }

  /** Looks names up for a connection to a given URL, and fails as `refuse` does where one has an inward address. */
  lookup(given: Given): LookupFunction {
    const lookup = this.#ports.lookup ?? ((host: string) => lookupAddresses(host, { all: true }));
    return (host, options, done) => {
      const look = async (): Promise<void> => {
        const found = (await lookup(host)).map(({ address }) => ({ address, family: isIP(address) }));
        for (const { address } of found) this.refuseAddress(given, address);
        if (options.all === true) return done(null, found);
        done(null, found[0]?.address ?? "", found[0]?.family ?? 4);
      };
      look().catch((error: NodeJS.ErrnoException) => done(error, [], 4));
    };
  }

  #isInward(host: string): boolean {
    const address = addressIn(host.replace(/:\d+$/, ""));
    return address === undefined ? this.#hosts.get(host) === true : contains(INWARD, address);
  }
}

/** The address that a host is written as; `localhost` has its own without being looked up. */
function addressIn(host: string): string | undefined {
  const name = host.replace(/^\[(.*)\]$/, "$1");
  if (name === "localhost") return "127.0.0.1";
  return isIP(name) === 0 ? undefined : name;
}

function contains(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

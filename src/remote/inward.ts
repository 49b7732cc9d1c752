import { lookup as lookupAddresses } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import { GantryError } from "../base/errors.ts";
import { isAmong } from "./insecure.ts";
import type { RemotePorts } from "./settings.ts";

/**
 * Addresses that mean another thing on each machine: itself, its link, and where clouds tell a machine its keys. What
 * listens there believes whoever can ask.
 */
const INWARD: readonly string[] = [
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "100.100.100.200/32",
  "::/128",
  "::1/128",
  "fe80::/10",
  "fd00:ec2::254/128",
];

/** A URL that a registry gave us: where a redirect, a token server, an upload or a foreign layer lies. */
export interface Given {
  readonly url: URL;
  /** `host[:port]` of the registry that gave it. */
  readonly by: string;
}

/**
 * Throws `forbidden` for a URL with an inward address unless whoever gave it is inward itself or the configuration names
 * the host as insecure.
 */
export async function refuseInward(given: Given, ports: RemotePorts): Promise<void> {
  const name = nameOf(given.url);
  if (isIP(name) === 0 && name !== "localhost") return;
  await judge(given, [isIP(name) === 0 ? "127.0.0.1" : name], ports);
}

/** Looks names up for a connection to a given URL, and fails as `refuseInward` does where one has an inward address. */
export function lookupOutward(given: Given, ports: RemotePorts): LookupFunction {
  const lookup = ports.lookup ?? ((host: string) => lookupAddresses(host, { all: true }));
  return (host, options, done) => {
    const look = async (): Promise<void> => {
      const found = (await lookup(host)).map(({ address }) => ({ address, family: isIP(address) }));
      await judge(
        given,
        found.map(({ address }) => address),
        ports,
      );
      if (options.all === true) return done(null, found);
      done(null, found[0]?.address ?? "", found[0]?.family ?? 4);
    };
    look().catch((error: NodeJS.ErrnoException) => done(error, [], 4));
  };
}

async function judge({ by, url }: Given, addresses: readonly string[], ports: RemotePorts): Promise<void> {
  const none: RemotePorts = { settings: ports.settings };
  for (const address of addresses) {
    if (!(await isAmong(bracketed(address), INWARD, none))) continue;
    if (await isAmong(by, INWARD, ports)) return;
    if (await isAmong(url.host, ports.settings().insecureRegistries, ports)) return;
    throw new GantryError(
      "forbidden",
      `cannot follow ${by} to ${url.host}: ${address} is an address of this machine alone, or of its link; add ${url.host} to insecure-registries if it is meant`,
    );
  }
}

function nameOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

function bracketed(address: string): string {
  return isIP(address) === 6 ? `[${address}]` : address;
}

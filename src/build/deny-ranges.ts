import type { LookupAddress } from "node:dns";
import { lookup as lookupAddresses } from "node:dns/promises";
import { BlockList, isIP, isIPv4, type LookupFunction } from "node:net";
import { GantryError } from "../base/errors.ts";

/** Addresses that are not of the public internet: RFC 1918, 6598, 4193, loopback, link-local (metadata services), … */
const PRIVATE: readonly string[] = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/128",
  "::1/128",
  "fc00::/7",
  "fe80::/10",
  "fec0::/10",
  "ff00::/8",
];
/** Ranges of IPv6 in which an address of IPv4 lies, from which byte on. */
const EMBEDDING: readonly { readonly range: BlockList; readonly at: number }[] = [
  { range: ranges(["::ffff:0:0/96"]), at: 12 },
  { range: ranges(["::/96"]), at: 12 },
  { range: ranges(["64:ff9b::/96"]), at: 12 },
  { range: ranges(["2002::/16"]), at: 2 },
];

export type Lookup = (host: string) => Promise<readonly LookupAddress[]>;

/** Addresses that a build may not fetch from. Checked on what a name means in the moment of connecting. */
export class DenyRanges {
  readonly #list: BlockList;
  readonly isEmpty: boolean;
  readonly #lookup: Lookup;

  /** Each is `private`, a range or an address; anything else throws `invalid`. */
  constructor(denied: readonly string[], lookup: Lookup = (host) => lookupAddresses(host, { all: true })) {
    this.isEmpty = denied.length === 0;
    this.#lookup = lookup;
    this.#list = ranges(denied.flatMap((one) => (one === "private" ? PRIVATE : [one])));
  }

  refuses(address: string): boolean {
    if (this.isEmpty) return false;
    if (isIPv4(address)) return this.#list.check(address, "ipv4");
    // A scope says which link, not which address.
    const plain = address.replace(/%.*$/, "");
    return this.#list.check(plain, "ipv6") || embeddedIn(plain).some((inner) => this.#list.check(inner, "ipv4"));
  }

  /** Addresses of a host that may be connected to; throws `forbidden` where there is none. */
  async resolve(host: string): Promise<readonly LookupAddress[]> {
    const bare = host.replace(/^\[|\]$/g, "");
    const family = isIP(bare);
    const found = family === 0 ? await this.#lookup(bare) : [{ address: bare, family }];
    const allowed = found.filter(({ address }) => !this.refuses(address));
    if (allowed.length === 0 && found.length > 0) throw denied(host);
    return allowed;
  }

  /** For `connect`: what it hands on is what is connected to. */
  get connectLookup(): LookupFunction {
    return (host, options, done) => {
      this.resolve(host).then(
        (addresses) => {
          const { family } = options;
          const wanted = addresses.filter((one) => !family || one.family === Number(String(family).replace("IPv", "")));
          const [first] = wanted;
          if (first === undefined) {
            done(Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: "ENOTFOUND" }), "", 0);
          } else if (options.all === true) done(null, [...wanted]);
          else done(null, first.address, first.family);
        },
        (error: Error) => done(error as NodeJS.ErrnoException, "", 0),
      );
    };
  }
}

export function denied(host: string): GantryError {
  return new GantryError("forbidden", `cannot fetch from ${host}: builds may not reach its address (deny ranges)`);
}

/** Throws `invalid` for what is no range of a list of denied ones. */
export function checkDenyRange(text: string): void {
  if (text !== "private") ranges([text]);
}

function ranges(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const [address = "", prefix, ...more] = text.split("/");
    const family = isIP(address);
    const longest = family === 6 ? 128 : 32;
    const bits = prefix === undefined ? longest : Number(prefix);
    const isRange =
      family !== 0 && more.length === 0 && prefix !== "" && Number.isInteger(bits) && bits >= 0 && bits <= longest;
    if (!isRange)
      throw new GantryError(
        "invalid",
        `invalid deny range ${JSON.stringify(text)}: give an address, a range (10.0.0.0/8) or "private"`,
      );
    list.addSubnet(address, bits, family === 6 ? "ipv6" : "ipv4");
  }
  return list;
}

function embeddedIn(address: string): string[] {
  return EMBEDDING.flatMap(({ range, at }) => {
    if (!range.check(address, "ipv6")) return [];
    return [
      bytesOf(address)
        .slice(at, at + 4)
        .join("."),
    ];
  });
}

/** The sixteen bytes of an IPv6 address. */
function bytesOf(address: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = (one: string | undefined, two: string | undefined) => (Number(one) * 256 + Number(two)).toString(16);
  const text = dotted === null ? address : `${dotted[1]}${hex(dotted[2], dotted[3])}:${hex(dotted[4], dotted[5])}`;
  const [left = "", right] = text.split("::");
  const words = (part: string | undefined) => (part === undefined || part === "" ? [] : part.split(":"));
  const [before, after] = [words(left), words(right)];
  const zeros = right === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...Array<string>(Math.max(zeros, 0)).fill("0"), ...after];
  return all.flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff]);
}

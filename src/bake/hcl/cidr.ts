import { isIP } from "node:net";
import { ValueError } from "./value.ts";

interface Prefix {
  readonly bits: 32 | 128;
  readonly length: number;
  readonly base: bigint;
}

/** The address of a host's number in a network. */
export function hostOf(text: string, number: number): string {
  const { bits, length, base } = parsePrefix(text);
  const size = 1n << BigInt(bits - length);
  const offset = number < 0 ? size + BigInt(number) : BigInt(number);
  if (offset < 0n || offset >= size)
    throw new ValueError(`prefix of ${length} does not accommodate a host numbered ${number}`);
  return addressText(base + offset, bits);
}

export function netmaskOf(text: string): string {
  const { bits, length } = parsePrefix(text);
  if (bits === 128) throw new ValueError("IPv6 addresses cannot have a netmask");
  return addressText(((1n << BigInt(length)) - 1n) << BigInt(bits - length), bits);
}

/** Subnets whose prefixes are longer by so many bits, one after the other; with `number`, the one of that number. */
export function subnetsOf(text: string, added: readonly number[], number?: number): string[] {
  const { bits, length, base } = parsePrefix(text);
  const end = base + (1n << BigInt(bits - length));
  let next = base;
  return added.map((more) => {
    const own = length + more;
    if (more < 0 || own > bits) throw new ValueError(`not enough remaining address space for a prefix of ${own} bits`);
    const size = 1n << BigInt(bits - own);
    // A subnet begins at a multiple of its size.
    const at = number === undefined ? ((next + size - 1n) / size) * size : base + BigInt(number) * size;
    if (at < base || at + size > end) throw new ValueError("not enough remaining address space for this subnet");
    next = at + size;
    return `${addressText(at, bits)}/${own}`;
  });
}

function parsePrefix(text: string): Prefix {
  const [address = "", given = ""] = text.split("/");
  const bits = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : undefined;
  const length = Number(given);
  if (bits === undefined || !/^\d+$/.test(given) || length > bits) {
    throw new ValueError(`invalid CIDR expression: invalid CIDR address: ${text}`);
  }
  const host = BigInt(bits - length);
  return { bits, length, base: (addressNumber(address, bits) >> host) << host };
}

function addressNumber(address: string, bits: 32 | 128): bigint {
  if (bits === 32) return address.split(".").reduce((number, part) => (number << 8n) | BigInt(part), 0n);
  // An address's canonical form has no dots.
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const parts = (side: string): string[] => (side === "" ? [] : side.split(":"));
  const gap = tail === undefined ? 0 : 8 - parts(head).length - parts(tail).length;
  const groups = [...parts(head), ...Array<string>(gap).fill("0"), ...parts(tail ?? "")];
  return groups.reduce((number, group) => (number << 16n) | BigInt(`0x${group}`), 0n);
}

function addressText(number: bigint, bits: 32 | 128): string {
  if (bits === 32) return [24n, 16n, 8n, 0n].map((shift) => (number >> shift) & 255n).join(".");
  const groups = Array.from({ length: 8 }, (_, n) => ((number >> BigInt(112 - 16 * n)) & 0xffffn).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

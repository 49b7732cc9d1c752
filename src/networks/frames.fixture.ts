import { addressBytes } from "../kernel/netlink.ts";

/** Frames as nobody's kernel would send them. */

const ETHERTYPE = { 4: 0x0800, 6: 0x86dd, arp: 0x0806 } as const;
const PROTOCOL = { icmp: 1, udp: 17, icmp6: 58 } as const;

export interface Way {
  /** Hardware addresses. */
  readonly from: string;
  readonly to: string;
  readonly source: string;
  readonly destination: string;
}

/** A datagram from port 4000. */
export function udpFrame(way: Way, port: number, text: string): Buffer {
  const body = Buffer.from(text);
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(4000, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(8 + body.length, 4);
  return ipFrame(way, PROTOCOL.udp, Buffer.concat([udp, body]), 6);
}

/** A router's advertisement of itself and of a prefix, 64 bits long. */
export function advertisementFrame(way: Way, prefix: string): Buffer {
  const head = Buffer.from([134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
  const option = Buffer.alloc(16);
  option.set([3, 4, 64, 0xc0]);
  option.writeUInt32BE(3600, 4);
  option.writeUInt32BE(3600, 8);
  return ipFrame(way, PROTOCOL.icmp6, Buffer.concat([head, option, addressBytes(prefix)]), 2);
}

/** An answer to a ping that nobody sent. */
export function pongFrame(way: Way, text: string): Buffer {
  const isFour = !way.source.includes(":");
  const pong = Buffer.concat([Buffer.from([isFour ? 0 : 129, 0, 0, 0, 0x47, 0x41, 0, 1]), Buffer.from(text)]);
  return ipFrame(way, isFour ? PROTOCOL.icmp : PROTOCOL.icmp6, pong, 2);
}

/** To all: the address `source` is to be had at the hardware address `from`. */
export function arpFrame({ from, source }: Pick<Way, "from" | "source">): Buffer {
  const [mac, address] = [macBytes(from), addressBytes(source)];
  const body = Buffer.concat([Buffer.from([0, 1, 8, 0, 6, 4, 0, 2]), mac, address, mac, address]);
  return Buffer.concat([etherHead("ff:ff:ff:ff:ff:ff", from, ETHERTYPE.arp), body]);
}

/** `sumAt`: where the checksum stands in what is carried. */
function ipFrame({ from, to, source, destination }: Way, protocol: number, carried: Buffer, sumAt: number): Buffer {
  const addresses = Buffer.concat([addressBytes(source), addressBytes(destination)]);
  // ICMP of IPv4 has no pseudo header.
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(carried.length, 0);
  pseudo[7] = protocol;
  const summed = protocol === PROTOCOL.icmp ? [carried] : [addresses, pseudo, carried];
  carried.writeUInt16BE(sumOf(Buffer.concat(summed)) || 0xffff, sumAt);
  const isFour = addresses.length === 8;
  const head = isFour
    ? Buffer.from([0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0])
    : Buffer.from([0x60, 0, 0, 0, 0, 0, protocol, 255]);
  head.writeUInt16BE(isFour ? 20 + carried.length : carried.length, isFour ? 2 : 4);
  const whole = Buffer.concat([head, addresses]);
  if (isFour) whole.writeUInt16BE(sumOf(whole), 10);
  return Buffer.concat([etherHead(to, from, ETHERTYPE[isFour ? 4 : 6]), whole, carried]);
}

function etherHead(to: string, from: string, type: number): Buffer {
  return Buffer.concat([macBytes(to), macBytes(from), Buffer.from([type >> 8, type & 0xff])]);
}

function macBytes(text: string): Buffer {
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

function sumOf(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

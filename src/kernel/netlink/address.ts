import { isIPv4, isIPv6 } from "node:net";
import { GantryError } from "../../base/errors.ts";

/** 4 or 16 bytes of an address in text. */
export function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  if (!isIPv6(address) || address.includes("%")) throw new GantryError("invalid", `not an IP address: ${address}`);
  const [head = "", tail] = address.split("::");
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  return Buffer.from([...front, ...new Array<number>(16 - front.length - back.length).fill(0), ...back]);
}

/** The text of 4 or 16 bytes, IPv6 as RFC 5952 has it. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const view = Buffer.from(bytes);
  const words = Array.from({ length: 8 }, (_, index) => view.readUInt16BE(index * 2).toString(16));
  // URL's host parser is the shortest-form printer that Node has at hand.
  return new URL(`http://[${words.join(":")}]/`).hostname.slice(1, -1);
}

export function macBytes(mac: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) throw new GantryError("invalid", `invalid MAC address: ${mac}`);
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

export function macText(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? "" : Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function groups(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const word = Number.parseInt(group, 16);
    return [word >> 8, word & 0xff];
  });
}

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { Breath } from "../base/breath.ts";
import type { Protocol } from "./firewall.ts";
import { parseAddress } from "./subnet.ts";

const LISTENING = "0A";
/** How long a search of all processes may take. */
const LONGEST_MS = 2000;

/**
 * The process of the host that holds a port, as "process 812 (nginx)"; undefined where this engine can't know. Looks
 * at the network namespace of the process, and at all processes that it may look into.
 */
export async function processHolding(
  protocol: Protocol,
  hostIp: string,
  hostPort: number,
): Promise<string | undefined> {
  const inodes = new Set(holdingSockets(protocol, hostIp, hostPort));
  if (inodes.size === 0) return undefined;
  const breath = new Breath();
  const deadline = performance.now() + LONGEST_MS;
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    if (holdsOne(pid, inodes)) return `process ${pid} (${commandOf(pid)})`;
    if (performance.now() > deadline) return undefined;
    await breath.take();
  }
  return undefined;
}

/** The inodes of sockets that are in the way. */
function holdingSockets(protocol: Protocol, hostIp: string, hostPort: number): string[] {
  if (protocol === "sctp") return [];
  return [protocol, `${protocol}6`].flatMap((table) => {
    const rows = read(`/proc/net/${table}`).split("\n").slice(1);
    return rows.flatMap((row) => {
      const [, local = "", , state, , , , , , inode = ""] = row.trim().split(/\s+/);
      const [address = "", port = ""] = local.split(":");
      if (Number.parseInt(port, 16) !== hostPort || (protocol === "tcp" && state !== LISTENING)) return [];
      return meet(address, hexOf(hostIp)) ? [inode] : [];
    });
  });
}

/** Addresses as the kernel's tables write them; all zeros is every address, and that of IPv6 may be IPv4's too. */
function meet(a: string, b: string): boolean {
  const isAny = (address: string) => /^0+$/.test(address);
  return a === b || isAny(a) || isAny(b);
}

/** IPv4 is one 32-bit word of the machine's byte order, IPv6 is four. */
function hexOf(text: string): string {
  const { family, value } = parseAddress(text);
  const words =
    value
      .toString(16)
      .padStart(family === 4 ? 8 : 32, "0")
      .match(/.{8}/g) ?? [];
  return words
    .map((word) => Buffer.from(word, "hex").reverse().toString("hex"))
    .join("")
    .toUpperCase();
}

function holdsOne(pid: string, inodes: ReadonlySet<string>): boolean {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => {
      const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`${folder}/${fd}`))?.[1];
      return inode !== undefined && inodes.has(inode);
    });
  } catch {
    // It has ended, or is none of ours to look into.
    return false;
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** A process may call itself what it likes. */
function commandOf(pid: string): string {
  return read(`/proc/${pid}/comm`)
    .trim()
    .replace(/[^\x20-\x7e]/g, "?");
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

import { createHash } from "node:crypto";
import { GantryError, hasCode } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { type Link, Netlink } from "../kernel/netlink.ts";
import { isLinkName } from "./bridge-options.ts";
import type { NetworkRecord, SharedRecord } from "./record.ts";

/** The parent of a network that names none: a link to nowhere, by Docker's name for it. */
export function aloneParent({ id }: Pick<NetworkRecord, "id">): string {
  return `dm-${id.slice(0, 12)}`;
}

/** Refuses what is no link's name, or can be no parent. Throws invalid. */
export function checkParent(driver: string, name: string): void {
  if (name === "lo") throw new GantryError("invalid", `loopback interface is not a valid ${driver} parent link`);
  if (!isLinkName(name)) {
    throw new GantryError("invalid", `invalid parent interface ${JSON.stringify(name.slice(0, 100))}: no link's name`);
  }
}

/**
 * Finds the parent, or makes it: the link to nowhere, or the sub-interface `eth0.10` of a link that is there. What is
 * made bears the engine's group from its first instant on.
 */
export function ensureParent(netlink: Netlink, { parent, isAlone }: SharedRecord, engineId: string): Link {
  const found = netlink.link(parent);
  if (found !== undefined) return found;
  const group = engineGroup(engineId);
  try {
    if (isAlone) makeDummy(netlink, parent, group);
    else makeVlan(netlink, parent, group);
  } catch (error) {
    // Two networks on one VLAN; or another program was quicker: its link serves as well.
    if (!hasCode(error, "EEXIST")) throw error;
  }
  failpoint("networks.create.parent");
  netlink.setLinkUp(parent);
  const made = netlink.link(parent);
  if (made === undefined) throw new GantryError("internal", `the link ${parent} is gone as soon as it was made`);
  return made;
}

/** Removes the parent if this engine made it; resolves when it is gone. */
export async function removeParent(netlink: Netlink, parent: string, engineId: string): Promise<void> {
  const link = netlink.link(parent);
  if (link === undefined || link.group !== engineGroup(engineId)) return;
  if (link.kind !== "vlan" && link.kind !== "dummy") return;
  try {
    await Netlink.deleteLinkAside(link.index);
  } catch (error) {
    if (!hasCode(error, "ENODEV")) throw error;
  }
}

/** By which an engine knows the links it made; never 0, which all others are in. */
function engineGroup(engineId: string): number {
  return 1 + (createHash("sha256").update(`gantry links ${engineId}`).digest().readUInt32BE(0) % 0x7fff_fffe);
}

/** Refuses a kind of link that this kernel has not, in words that say what is missing. */
export function needLinkKind(netlink: Netlink, kind: "macvlan" | "ipvlan"): void {
  if (netlink.hasKind(kind)) return;
  throw missing(kind, `the ${kind} driver`, "use the bridge driver, or load the module");
}

function makeDummy(netlink: Netlink, name: string, group: number): void {
  try {
    netlink.createDummy(name, group);
  } catch (error) {
    if (!hasCode(error, "EOPNOTSUPP")) throw error;
    throw missing("dummy", "a network without a parent", "name one (-o parent=eth0), or load the module");
  }
}

function makeVlan(netlink: Netlink, name: string, group: number): void {
  const at = name.lastIndexOf(".");
  if (at < 1) {
    const why = "there is no link of this name";
    throw new GantryError("invalid", `invalid subinterface vlan name ${name}, example formatting is eth0.10: ${why}`);
  }
  const base = name.slice(0, at);
  const tag = name.slice(at + 1);
  if (!/^\d{1,9}$/.test(tag)) {
    throw new GantryError("invalid", `unable to parse a valid vlan id from: ${tag} (ex. eth0.10 for vlan 10)`);
  }
  const id = Number(tag);
  if (id < 1 || id > 4094) throw new GantryError("invalid", `vlan id must be between 1-4094, received: ${id}`);
  const parent = netlink.link(base)?.index;
  if (parent === undefined) {
    throw new GantryError("invalid", `-o parent interface was not found on the host: ${base}`);
  }
  try {
    netlink.createVlan(name, { parent, id, group });
  } catch (error) {
    if (!hasCode(error, "EOPNOTSUPP")) throw error;
    throw missing("8021q", `the sub-interface ${name}`, "give a link that is there, or load the module");
  }
}

function missing(module: string, what: string, remedy: string): GantryError {
  return new GantryError("unsupported", `${what} needs the kernel's ${module}, which this kernel has not: ${remedy}`);
}

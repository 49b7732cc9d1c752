import { closeSync, mkdirSync, openSync, readdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { listMounts } from "../kernel/mount.ts";
import { createNetns, inNetns, removeNetns } from "../kernel/namespace.ts";
import { type InterfaceAddress, Netlink, type NewRoute } from "../kernel/netlink.ts";
import type { WayOut } from "./driver.ts";
import type { InterfaceSysctl } from "./endpoint-options.ts";

/** Where the network namespaces are bound, one file a container named by its id. */
export class Sandboxes {
  readonly #folder: string;

  constructor(execRoot: string) {
    const folder = join(execRoot, "netns");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // As the kernel lists it.
    this.#folder = realpathSync(folder);
  }

  path(containerId: string): string {
    return join(this.#folder, containerId);
  }

  /** A new namespace with its loopback up. One that a crash left half made under this id is replaced. */
  create(containerId: string): string {
    const path = this.path(containerId);
    try {
      createNetns(path);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      removeNetns(path);
      createNetns(path);
    }
    try {
      inNetns(path, () => {
        // For links that come later; the loopback keeps its ::1.
        writeSysctl("net/ipv6/conf/default/disable_ipv6", "1");
        writeSysctl("net/ipv6/conf/default/accept_ra", "0");
        using netlink = new Netlink();
        netlink.setLinkUp("lo");
      });
    } catch (error) {
      removeNetns(path);
      throw error;
    }
    return path;
  }

  /** The ids whose namespaces are bound or half made. */
  list(): string[] {
    return readdirSync(this.#folder);
  }

  /** Those of which the namespace is really bound, not just its file there. */
  bound(): Set<string> {
    return new Set(listMounts(this.#folder).map(({ target }) => target.slice(this.#folder.length + 1)));
  }

  /** The kernel takes the links inside along when the last process has left, a few milliseconds later. */
  remove(containerId: string): void {
    removeNetns(this.path(containerId));
  }
}

/** Runs `act` with a descriptor of the namespace, as links are born by. */
export function withNetnsFd<T>(path: string, act: (fd: number) => T): T {
  const fd = openSync(path, "r");
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}

/** The next free name inside: the prefix and a number. */
export function nextInterface(path: string, prefix: string): string {
  return inNetns(path, () => {
    using netlink = new Netlink();
    const names = new Set(netlink.links().map(({ name }) => name));
    for (let number = 0; ; number++) if (!names.has(`${prefix}${number}`)) return `${prefix}${number}`;
  });
}

/** How an interface inside is to be set up. */
export interface InsideSetup {
  readonly addresses: readonly Omit<InterfaceAddress, "index">[];
  /** In place of routes to the same destinations; one that names neither gateway nor link is of this interface. */
  readonly routes: readonly NewRoute[];
  /** Its addresses are of IPv6 too; else it has none, not even a link-local one. */
  readonly ipv6: boolean;
  /** The user's, which come last. */
  readonly sysctls?: readonly InterfaceSysctl[];
}

/** Brings a link inside up, with its addresses and routes. */
export function configureInside(path: string, name: string, setup: InsideSetup): void {
  const { addresses, routes, ipv6, sysctls = [] } = setup;
  inNetns(path, () => {
    using netlink = new Netlink();
    const link = netlink.link(name);
    if (link === undefined) throw new Error(`cannot set up ${name}: it is not in its namespace`);
    if (ipv6) allowIPv6(name);
    for (const sysctl of sysctls) setInterfaceSysctl(sysctl, name);
    const { index } = link;
    const ownRoutes = routes.map((route) => (route.gateway === undefined ? { index, ...route } : route));
    netlink.configureLink(index, addresses, ownRoutes);
  });
}

function setInterfaceSysctl({ text, value, pathOf }: InterfaceSysctl, name: string): void {
  try {
    writeFileSync(`/proc/sys/${pathOf(name)}`, value);
  } catch (error) {
    const why = hasCode(error, "ENOENT") ? "this kernel has no such setting" : messageOf(error);
    throw new GantryError("invalid", `cannot set ${text.slice(0, 200)} of an endpoint: ${why}`, { cause: error });
  }
}

/** Puts default routes in the place of those there are; a gateway must be reached by a link inside. */
export function routeThrough(path: string, waysOut: readonly WayOut[]): void {
  if (waysOut.length === 0) return;
  inNetns(path, () => {
    using netlink = new Netlink();
    for (const way of waysOut) {
      if ("gateway" in way) {
        netlink.replaceRoute({ destination: "default", gateway: way.gateway });
        continue;
      }
      const link = netlink.links().find(({ group }) => group === way.group);
      if (link !== undefined) netlink.replaceRoute({ destination: "default", family: way.family, index: link.index });
    }
  });
}

/** Of a link that is down, in the thread's namespace: its addresses work at once and nobody's advertisement counts. */
export function allowIPv6(name: string): void {
  writeSysctl(`net/ipv6/conf/${name}/accept_ra`, "0");
  writeSysctl(`net/ipv6/conf/${name}/accept_dad`, "0");
  writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "0");
}

/** Writes a file under /proc/sys of the thread's namespace; a kernel without it (IPv6 off) has nothing to turn off. */
export function writeSysctl(name: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/${name}`, value);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

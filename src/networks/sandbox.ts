import { closeSync, mkdirSync, openSync, readdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../base/errors.ts";
import { listMounts } from "../kernel/mount.ts";
import { createNetns, inNetns, removeNetns } from "../kernel/namespace.ts";
import { type InterfaceAddress, Netlink, type NewRoute } from "../kernel/netlink.ts";

/** Where the network namespaces are bound, one file a container named by its id. */
export class Sandboxes {
  readonly #folder: string;

  constructor(execRoot: string) {
    const folder = join(execRoot, "netns");
    mkdirSync(folder, { recursive: true, mode: 0o711 });
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

/** The next free ethN inside. */
export function nextInterface(path: string): string {
  return inNetns(path, () => {
    using netlink = new Netlink();
    const names = new Set(netlink.links().map(({ name }) => name));
    for (let number = 0; ; number++) if (!names.has(`eth${number}`)) return `eth${number}`;
  });
}

/** Brings a link inside up, with an address and routes. */
export function configureInside(
  path: string,
  name: string,
  address: Omit<InterfaceAddress, "index">,
  routes: readonly NewRoute[],
): void {
  inNetns(path, () => {
    using netlink = new Netlink();
    const link = netlink.links().find((candidate) => candidate.name === name);
    if (link === undefined) throw new Error(`cannot set up ${name}: it is not in its namespace`);
    netlink.configureLink(link.index, [address], routes);
  });
}

/** Writes a file under /proc/sys of the thread's namespace; a kernel without it (IPv6 off) has nothing to turn off. */
export function writeSysctl(name: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/${name}`, value);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

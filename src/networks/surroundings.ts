import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { type NetworkChange, NetworkMonitor } from "../kernel/network-monitor.ts";
import { type Clash, findClashes, keyOf, type OwnSubnet, type Reached } from "./clash.ts";
import type { NetworkRecord } from "./record.ts";

/** The kernel's own: what it takes in itself, and what it sends to all. */
const LOCAL_TABLE = 255;
/** Changes come in bursts: they are looked at together, and not more often than this. */
const SETTLE_MS = 100;
const AT_MOST_EVERY_MS = 1_000;

export interface SurroundingsPorts {
  readonly netlink: Netlink;
  readonly events: EventBus;
  readonly logger: Logger;
  /** The networks that have a bridge, each with the index of its link. */
  readonly bridges: () => readonly BridgedNetwork[];
  /** Makes the bridge anew of a network whose bridge is gone, and puts its containers on it. */
  readonly mend: (record: NetworkRecord) => void;
}

export interface BridgedNetwork {
  readonly record: NetworkRecord;
  readonly index: number;
  /** CIDR. */
  readonly subnets: readonly string[];
}

/**
 * What becomes of the host's network around this engine's: a bridge that somebody deleted is made again, and a route or
 * an address that covers a network's subnet, as a VPN brings them, is told of. Belongs to the network namespace that it
 * was made in.
 */
export class Surroundings {
  readonly #ports: SurroundingsPorts;
  readonly #monitor: NetworkMonitor;
  /** Those that were told. */
  #clashes = new Map<string, Clash>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(ports: SurroundingsPorts) {
    this.#ports = ports;
    this.#monitor = new NetworkMonitor({
      change: (change) => this.#heard(change),
      loss: () => this.#lookSoon(),
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#monitor.close();
  }

  /** Sees what there is now, and acts on it. */
  look(): void {
    this.#lookedAt = performance.now();
    const links = new Map(this.#ports.netlink.links().map(({ index, name }) => [index, name]));
    for (const { record, index } of this.#ports.bridges()) if (!links.has(index)) this.#mend(record);
    this.#tellClashes(links);
  }

  #mend(record: NetworkRecord): void {
    const { logger, mend } = this.#ports;
    try {
      mend(record);
      logger.warn("somebody deleted the bridge of a network: it was made again, and its containers are on it", {
        network: record.name,
      });
      this.#publish("repair", record, {});
    } catch (error) {
      logger.error("somebody deleted the bridge of a network, and it could not be made again", {
        network: record.name,
        cause: messageOf(error),
      });
    }
  }

  #tellClashes(links: ReadonlyMap<number, string>): void {
    const bridged = this.#ports.bridges();
    const found = new Map(findClashes(ownSubnets(bridged), this.#reached()).map((clash) => [keyOf(clash), clash]));
    for (const [key, { networkId, subnet, other, index }] of found) {
      const record = bridged.find((each) => each.record.id === networkId)?.record;
      if (this.#clashes.has(key) || record === undefined) continue;
      const attributes = { subnet, route: other, interface: links.get(index) ?? "" };
      this.#ports.logger.warn("the host reaches something else by the addresses of a network", {
        network: record.name,
        ...attributes,
      });
      this.#publish("clash", record, attributes);
    }
    this.#clashes = found;
  }

  #reached(): Reached[] {
    const { netlink } = this.#ports;
    const addresses = netlink.addresses().map(({ address, prefix, index }) => ({
      destination: `${address}/${prefix}`,
      index,
    }));
    return [...addresses, ...netlink.routes().filter(({ table }) => table !== LOCAL_TABLE)];
  }

  /** The containers' own coming and going does not matter. */
  #heard({ what, index }: NetworkChange): void {
    if (this.#timer !== undefined) return;
    const isOwn = this.#ports.bridges().some((each) => each.index === index);
    if (isOwn === (what === "link")) this.#lookSoon();
  }

  #lookSoon(): void {
    const ms = Math.max(SETTLE_MS, this.#lookedAt + AT_MOST_EVERY_MS - performance.now());
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#lookSafely();
    }, ms).unref();
  }

  #lookSafely(): void {
    try {
      this.look();
    } catch (error) {
      this.#ports.logger.warn("cannot look at the host's network", { cause: messageOf(error) });
    }
  }

  #publish(action: string, record: NetworkRecord, more: Readonly<Record<string, string>>): void {
    const attributes = { ...more, name: record.name, type: record.driver };
    this.#ports.events.publish({ type: "network", action, id: record.id, attributes });
  }
}

function ownSubnets(bridged: readonly BridgedNetwork[]): OwnSubnet[] {
  return bridged.flatMap(({ record, index, subnets }) =>
    subnets.map((subnet) => ({ networkId: record.id, subnet, index })),
  );
}

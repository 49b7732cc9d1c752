import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IpamConfig, NetworkContainer, NetworkInspect } from "../api/network.ts";
import type { NetworkCreateRequest } from "../api/network-request.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Logger } from "../base/log.ts";
import type { Netlink } from "../kernel/netlink.ts";
import type { Collection, Store } from "../state/store.ts";
import { subnetAddresses } from "./addresses.ts";
import { BridgeDriver } from "./bridge.ts";
import type { NetworksConfig } from "./config.ts";
import { readAddressWishes } from "./default-addresses.ts";
import { type DefaultBridge, ensureDefaultBridge } from "./default-bridge.ts";
import { DepartedPorts } from "./departed-ports.ts";
import type { NetworkDriver, Plugged } from "./driver.ts";
import type { Firewall } from "./firewall.ts";
import { hostDriver, noneDriver, unjoinable } from "./none.ts";
import { needLinkKind } from "./parent.ts";
import { planNetwork } from "./plan.ts";
import {
  type AddressesRecord,
  defaultBridgeOptions,
  ensureRecord,
  inspectNetwork,
  isPredefined,
  type NetworkRecord,
  networkLabel,
  readRecord,
  resolveNetwork,
  subnetsOf,
} from "./record.ts";
import { writeSysctl } from "./sandbox.ts";
import { SharingDriver } from "./sharing.ts";
import { type AddressPoolConfig, DEFAULT_POOLS, formatSubnet, overlaps, parseSubnet, type Subnet } from "./subnet.ts";
import type { BridgedNetwork } from "./surroundings.ts";
import { Taken } from "./taken.ts";
import { openUserBridge } from "./user-bridge.ts";

const DEFAULT_MTU = 1500;
/** How often another program may take the subnets that were chosen before it is given up. */
const MOST_TRIES = 16;

export interface RegistryPorts {
  readonly store: Store;
  readonly logger: Logger;
  readonly config: NetworksConfig;
  readonly netlink: Netlink;
  readonly firewall: Firewall;
}

interface MadeNetwork {
  readonly record: NetworkRecord;
  /** What the user should know; "" for nothing. */
  readonly warning: string;
  /** Settles when the record is on the disk, or can't be. */
  readonly kept: Promise<void>;
}

/** Which networks there are: their records, and the driver of each. */
export class NetworkRegistry {
  readonly #ports: RegistryPorts;
  readonly #stored: Collection<NetworkRecord>;
  readonly #records = new Map<string, NetworkRecord>();
  readonly #drivers = new Map<string, NetworkDriver>();
  /** Of those that could not be opened; they are tried again. */
  readonly #unopened = new Set<string>();
  /** Being removed: nobody may join any more. */
  readonly #leaving = new Set<string>();
  readonly #pools: readonly AddressPoolConfig[];
  readonly #taken: Taken;
  readonly #departed: DepartedPorts;
  /** The default bridge's link. */
  readonly defaultInterface: string;

  constructor(ports: RegistryPorts) {
    this.#ports = ports;
    this.#departed = new DepartedPorts(ports.netlink, (error) =>
      ports.logger.error(`cannot delete the link of a container that left: ${messageOf(error)}`, {}),
    );
    this.#taken = new Taken(ports.netlink, () => this.#ownLinks());
    this.#stored = ports.store.collection<NetworkRecord>("networks");
    const pools = ports.config.defaultAddressPools ?? [];
    this.#pools = [...(pools.length === 0 ? DEFAULT_POOLS : pools), ownPool(ports.config.engineId)];
    const users = this.#stored
      .list()
      .map(({ value }) => readRecord(value))
      .filter((record) => !isPredefined(record));
    this.defaultInterface = this.#openDefault(users.flatMap(subnetsOf).map(({ subnet }) => parseSubnet(subnet)));
    this.#register(ensureRecord(this.#stored, "host", "host"), hostDriver);
    this.#register(ensureRecord(this.#stored, "none", "null"), noneDriver);
    for (const record of users) {
      this.#register(record, this.#reopen(record));
      const { firewall } = this.#driverOf(record);
      if (firewall !== undefined) ports.firewall.remember(firewall);
    }
    this.#enableForwarding();
  }

  all(): NetworkRecord[] {
    return [...this.#records.values()];
  }

  get(id: string): NetworkRecord | undefined {
    return this.#records.get(id);
  }

  /** By name, id or prefix; not-found in Docker's words. `default` is the default bridge. */
  find(nameOrId: string): NetworkRecord {
    return resolveNetwork(this.#records.values(), nameOrId === "default" ? "bridge" : nameOrId);
  }

  inspect(record: NetworkRecord, containers: Record<string, NetworkContainer>): NetworkInspect {
    return inspectNetwork(record, containers);
  }

  /** The network's driver; one that could not be opened before is tried again. */
  driver(record: NetworkRecord): NetworkDriver {
    if (this.#leaving.has(record.id)) throw new GantryError("not-found", `network ${record.name} not found`);
    return this.#driverOf(record);
  }

  async create(request: NetworkCreateRequest): Promise<{ readonly record: NetworkRecord; readonly warning: string }> {
    const { record, warning, kept } = this.#make(request);
    try {
      await kept;
    } catch (error) {
      await this.remove(record);
      throw error;
    }
    failpoint("networks.create.flushed");
    return { record, warning };
  }

  /** The caller has seen that it has no members. */
  async remove(record: NetworkRecord): Promise<void> {
    const { store, firewall } = this.#ports;
    if (record.configOnly && this.all().some(({ configFrom }) => configFrom === record.name)) {
      const why = `configuration network ${JSON.stringify(record.name)} is in use`;
      throw new GantryError("forbidden", `error while removing network: ${why}`);
    }
    const driver = this.driver(record);
    this.#leaving.add(record.id);
    try {
      if (driver.firewall !== undefined) firewall.removeNetwork(driver.firewall);
      failpoint("networks.remove.unfiltered");
      await driver.close();
      failpoint("networks.remove.closed");
      store.relaxed(() => this.#stored.delete(record.id));
      this.#records.delete(record.id);
      this.#drivers.delete(record.id);
      this.#unopened.delete(record.id);
      failpoint("networks.remove.forgotten");
      await store.flush();
    } catch (error) {
      if (this.#records.has(record.id)) this.#retry(record);
      throw error;
    } finally {
      this.#leaving.delete(record.id);
    }
  }

  /** Links of some networks are in the sandboxes, where a crash may leave one that nobody knows of. */
  hasLinksInside(): boolean {
    return this.all().some(({ shared }) => shared !== undefined);
  }

  /** Tells each driver which endpoints there are. */
  prune(endpointsOf: (networkId: string) => ReadonlySet<string>): void {
    const links = this.#ports.netlink.links();
    for (const [id, driver] of this.#drivers) driver.prune(endpointsOf(id), links);
  }

  detach(): void {
    this.#taken.close();
    this.#departed.forget();
  }

  /** The networks that have a bridge, as it was last known. */
  bridges(): BridgedNetwork[] {
    return [...this.#drivers].flatMap(([id, driver]) => {
      const record = this.#records.get(id);
      if (!(driver instanceof BridgeDriver) || record === undefined || this.#leaving.has(id)) return [];
      return [{ record, index: driver.bridge.index, subnets: driver.firewall.subnets.map(formatSubnet) }];
    });
  }

  /** Makes the bridge anew of a network whose bridge is gone, with these endpoints on it. */
  mend(record: NetworkRecord, endpoints: readonly Pick<Plugged, "id" | "address">[]): void {
    const { firewall } = this.#ports;
    const before = this.#drivers.get(record.id);
    if (before?.firewall !== undefined) firewall.removeNetwork(before.firewall);
    const others = this.bridges().filter((each) => each.record.id !== record.id);
    if (isPredefined(record)) this.#openDefault(others.flatMap(({ subnets }) => subnets.map(parseSubnet)));
    else this.#register(record, this.#open(record));
    const driver = this.#driverOf(record);
    if (driver.firewall !== undefined) firewall.addNetwork(driver.firewall);
    for (const { id, address } of endpoints) driver.adopt(id, address);
    driver.prune(new Set(endpoints.map(({ id }) => id)), this.#ports.netlink.links());
  }

  /** Takes all links down, those of containers that have just ended too; the records stay. */
  async close(): Promise<void> {
    this.prune(() => new Set());
    await Promise.all(Array.from(this.#drivers.values(), (driver) => driver.close()));
    await this.#departed.gone();
  }

  /** In one go, so that nobody sees half of it and no other create chooses the same. */
  #make(request: NetworkCreateRequest): MadeNetwork {
    const { store, netlink, firewall } = this.#ports;
    for (let tries = 1; ; tries++) {
      const { record, isChosen, warning } = planNetwork(request, {
        records: this.all(),
        pools: this.#pools,
        taken: () => this.#taken.subnets(),
        isThere: (name) => netlink.link(name)?.kind === "bridge",
      });
      // The record first: what a crash leaves of the rest is made whole at boot, or found by it.
      store.relaxed(() => this.#stored.put(record.id, record));
      // Another thread waits for the disk, this one for the kernel.
      const kept = store.flush();
      kept.catch(() => {});
      failpoint("networks.create.recorded");
      try {
        const driver = this.#open(record);
        if (isChosen && driver instanceof BridgeDriver && this.#clashes(driver)) {
          netlink.deleteLink(driver.bridge.index);
          if (tries < MOST_TRIES) {
            store.relaxed(() => this.#stored.delete(record.id));
            continue;
          }
          throw new GantryError("conflict", "cannot find a subnet: other programs take each that is chosen");
        }
        failpoint("networks.create.opened");
        if (driver.firewall !== undefined) firewall.addNetwork(driver.firewall);
        failpoint("networks.create.filtered");
        this.#register(record, driver);
        return { record, warning, kept };
      } catch (error) {
        store.relaxed(() => this.#stored.delete(record.id));
        // Or a power cut would bring back what was refused.
        store.flush().catch(() => {});
        throw error;
      }
    }
  }

  /** Bridges whose subnets the records have. */
  #ownLinks(): ReadonlySet<number> {
    const own = new Set<number>();
    for (const driver of this.#drivers.values()) {
      if (driver instanceof BridgeDriver && !driver.bridge.isForeign) own.add(driver.bridge.index);
    }
    return own;
  }

  /** Another program has taken one of the subnets at the same time. */
  #clashes({ bridge }: BridgeDriver): boolean {
    const taken = this.#taken.subnets(bridge.index);
    return [bridge.ipv4, bridge.ipv6].some(
      (addresses) => addresses !== undefined && taken.some((other) => overlaps(other, addresses.subnet)),
    );
  }

  #open(record: NetworkRecord): NetworkDriver {
    if (record.configOnly) {
      return unjoinable(() => new GantryError("forbidden", "cannot join config-only network"));
    }
    const { netlink, config } = this.#ports;
    const { shared } = record;
    if (shared !== undefined) {
      needLinkKind(netlink, record.driver === "macvlan" ? "macvlan" : "ipvlan");
      const isParentShared = () =>
        this.all().some((other) => other.id !== record.id && other.shared?.parent === shared.parent);
      return new SharingDriver({ netlink, engineId: config.engineId, record: { ...record, shared }, isParentShared });
    }
    const bridge = openUserBridge(netlink, record, { engineId: config.engineId, mtu: config.mtu ?? DEFAULT_MTU });
    if (bridge.ipv6 !== undefined && !bridge.internal) this.#enableForwarding6(record.name);
    return new BridgeDriver({ netlink, departed: this.#departed, bridge });
  }

  /** At boot: an engine with one network that can't be had still serves all others. */
  #reopen(record: NetworkRecord): NetworkDriver {
    try {
      const driver = this.#open(record);
      this.#unopened.delete(record.id);
      return driver;
    } catch (error) {
      this.#unopened.add(record.id);
      const cause = messageOf(error);
      this.#ports.logger.error("a network could not be opened", { network: record.name, cause });
      return unjoinable(() => {
        return new GantryError("unavailable", `the network ${record.name} could not be opened: ${cause}`);
      });
    }
  }

  #driverOf(record: NetworkRecord): NetworkDriver {
    const driver = this.#drivers.get(record.id);
    if (driver === undefined) throw new GantryError("not-found", `network ${record.name} not found`);
    if (this.#unopened.has(record.id)) return this.#retry(record);
    return driver;
  }

  #retry(record: NetworkRecord): NetworkDriver {
    const driver = this.#reopen(record);
    if (driver.firewall !== undefined) this.#ports.firewall.addNetwork(driver.firewall);
    this.#drivers.set(record.id, driver);
    return driver;
  }

  #openDefault(reserved: readonly Subnet[]): string {
    const { config, netlink, logger, firewall } = this.#ports;
    const record = ensureRecord(this.#stored, "bridge", "bridge");
    const mtu = config.mtu ?? DEFAULT_MTU;
    const settings = config.defaultBridge ?? { neighbours: true, masquerade: true, hostBinding: "" };
    const own = record.bridge;
    const bridge = ensureDefaultBridge(netlink, {
      engineId: config.engineId,
      bridgeName: config.bridgeName,
      ...readAddressWishes(config.defaultAddresses ?? {}),
      pools: this.#pools,
      mtu,
      remembered: own,
      reserved,
    });
    if (own?.ipv4 !== undefined && own.ipv4.subnet !== bridge.ipv4.subnet) {
      logger.info("the default bridge has a new subnet", { before: own.ipv4.subnet, now: bridge.ipv4.subnet });
    }
    const current: NetworkRecord = {
      ...record,
      enableIPv6: bridge.ipv6 !== undefined,
      ipam: { ...record.ipam, config: [bridge.ipv4, bridge.ipv6].flatMap((addresses) => shownRow(addresses)) },
      options: defaultBridgeOptions(bridge.interface, mtu, settings),
      bridge: { interface: bridge.interface, ipv4: bridge.ipv4, ipv6: bridge.ipv6 },
    };
    if (bridge.ipv6 !== undefined) this.#enableForwarding6(record.name);
    if (JSON.stringify(current) !== JSON.stringify(record)) this.#stored.put(record.id, current);
    const driverBridge = { ...defaultDriverBridge(current, bridge, mtu), ...settings };
    const driver = new BridgeDriver({ netlink, departed: this.#departed, bridge: driverBridge });
    this.#register(current, driver);
    firewall.remember(driver.firewall);
    return bridge.interface;
  }

  #register(record: NetworkRecord, driver: NetworkDriver): void {
    this.#records.set(record.id, record);
    this.#drivers.set(record.id, driver);
  }

  #enableForwarding(): void {
    if (readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim() === "1") return;
    writeSysctl("net/ipv4/ip_forward", "1");
    this.#ports.logger.warn(
      "net.ipv4.ip_forward was off and is on now: containers need it. This host routes for its neighbours too",
    );
  }

  #enableForwarding6(network: string): void {
    const name = "net/ipv6/conf/all/forwarding";
    if (readFileSync(`/proc/sys/${name}`, "utf8").trim() === "1") return;
    writeSysctl(name, "1");
    this.#ports.logger.warn(
      "net.ipv6.conf.all.forwarding was off and is on now: an IPv6 network needs it. This host takes no router advertisements any more, except where accept_ra is 2",
      { network },
    );
  }
}

function defaultDriverBridge(record: NetworkRecord, bridge: DefaultBridge, mtu: number) {
  return {
    network: networkLabel(record),
    index: bridge.index,
    interface: bridge.interface,
    isForeign: false,
    mtu,
    ipv4: subnetAddresses(bridge.ipv4),
    ipv6: bridge.ipv6 && subnetAddresses(bridge.ipv6),
    internal: false,
    insidePrefix: "eth",
  };
}

/** What `inspect` has to show of a family besides subnet and gateway, as Docker shows it. */
function shownRow(addresses: AddressesRecord | undefined): IpamConfig[] {
  if (addresses === undefined) return [];
  const { subnet, gateway, range, router } = addresses;
  if (range === undefined && router === undefined) return [];
  const name = subnet.includes(":") ? "DefaultGatewayIPv6" : "DefaultGatewayIPv4";
  return [
    {
      Subnet: subnet,
      ...(range === undefined ? {} : { IPRange: range }),
      Gateway: gateway,
      ...(router === undefined ? {} : { AuxiliaryAddresses: { [name]: router } }),
    },
  ];
}

/** Unique local addresses (RFC 4193) of this engine, for IPv6 networks that name no subnet. */
function ownPool(engineId: string): AddressPoolConfig {
  const digest = createHash("sha256").update(`gantry addresses ${engineId}`).digest("hex");
  return { base: `fd${digest.slice(0, 2)}:${digest.slice(2, 6)}:${digest.slice(6, 10)}::/48`, size: 64 };
}

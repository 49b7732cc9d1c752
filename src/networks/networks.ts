import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { EndpointSettings, PortMap } from "../api/container.ts";
import type { NetworkContainer, NetworkInspect } from "../api/network.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import { Netlink } from "../kernel/netlink.ts";
import type { Store } from "../state/store.ts";
import { BridgeDriver, checkBip, ensureBridge } from "./bridge.ts";
import type { NetworkDriver } from "./driver.ts";
import { containerRow, type Endpoint, settingsOf } from "./endpoint.ts";
import { Firewall } from "./firewall.ts";
import { hostDriver } from "./host.ts";
import type { EndpointRequest, LiveSandbox, NetworkController, PortRequest } from "./network.ts";
import { noneDriver } from "./none.ts";
import { HostPorts } from "./ports.ts";
import { type Publication, Publications } from "./publications.ts";
import { defaultBridgeOptions, ensureRecord, inspectNetwork, type NetworkRecord, resolveNetwork } from "./record.ts";
import { Sandboxes, writeSysctl } from "./sandbox.ts";
import { type AddressPoolConfig, DEFAULT_POOLS, formatSubnet } from "./subnet.ts";

export interface NetworksConfig {
  /** Short, unique to the data root, of letters, digits and hyphens. */
  readonly engineId: string;
  readonly execRoot: string;
  /** The default bridge's interface, unless another engine has one of that name. */
  readonly bridgeName: string;
  /** `--bip`: the default bridge's address in CIDR. */
  readonly bip?: string;
  /** `--default-address-pool`; empty or missing: Docker's own. */
  readonly defaultAddressPools?: readonly AddressPoolConfig[];
  /** Default 1500. */
  readonly mtu?: number;
  /** Default true. */
  readonly userlandProxy?: boolean;
}

export interface NetworksPorts {
  readonly store: Store;
  readonly events: EventBus;
  readonly logger: Logger;
  readonly config: NetworksConfig;
}

/** What this engine knows of one container's networks. */
interface Membership {
  sandbox: string | undefined;
  readonly endpoints: Map<string, Endpoint>;
  published: Publication | undefined;
}

/**
 * The networks of one engine: its bridge, its table of the packet filter, its sandboxes. Made before anything else
 * of the engine asks for a network; call `reconcile` once then. Belongs to the network namespace it was made in.
 */
export class Networks implements NetworkController {
  readonly #events: EventBus;
  readonly #logger: Logger;
  readonly #netlink = new Netlink();
  #isDetached = false;
  readonly #records = new Map<string, NetworkRecord>();
  readonly #drivers = new Map<string, NetworkDriver>();
  readonly #members = new Map<string, Membership>();
  readonly #sandboxes: Sandboxes;
  readonly #bridge: BridgeDriver;
  readonly #firewall: Firewall;
  readonly #publications: Publications;

  constructor({ store, events, logger, config }: NetworksPorts) {
    this.#events = events;
    this.#logger = logger;
    if (!/^[A-Za-z0-9-]{1,32}$/.test(config.engineId))
      throw new GantryError("invalid", `invalid engine id: ${config.engineId}`);
    this.#sandboxes = new Sandboxes(config.execRoot);
    this.#bridge = this.#openBridge(store, config);
    this.#register(ensureRecord(store.collection("networks"), "host", "host"), hostDriver);
    this.#register(ensureRecord(store.collection("networks"), "none", "null"), noneDriver);
    this.#firewall = new Firewall({ table: `gantry-${config.engineId}`, bridge: this.#bridge.bridge, logger });
    this.#publications = new Publications({
      firewall: this.#firewall,
      ports: new HostPorts({ userlandProxy: config.userlandProxy ?? true }),
      logger,
      routeLoopback: () => this.#bridge.routeLoopback(),
    });
    this.#enableForwarding();
    // A table that is there serves containers that outlived the engine until reconcile knows of them.
    if (!this.#firewall.exists()) this.#firewall.install([]);
    void this.#firewall.warnOfOthers();
  }

  inspect(nameOrId: string): NetworkInspect {
    const record = resolveNetwork(this.#records.values(), nameOrId);
    const containers: Record<string, NetworkContainer> = {};
    for (const [containerId, { endpoints }] of this.#members) {
      const endpoint = endpoints.get(record.id);
      if (endpoint !== undefined) containers[containerId] = containerRow(endpoint);
    }
    return inspectNetwork(record, containers);
  }

  list(): NetworkInspect[] {
    return Array.from(this.#records.keys(), (id) => this.inspect(id));
  }

  createSandbox(containerId: string): { readonly path: string } {
    const member = this.#member(containerId);
    member.sandbox ??= this.#sandboxes.create(containerId);
    return { path: member.sandbox };
  }

  async connect(containerId: string, network: string, wanted: EndpointRequest): Promise<EndpointSettings> {
    const record = resolveNetwork(this.#records.values(), network === "default" ? "bridge" : network);
    if ((wanted.ipv4Address ?? "") !== "" || (wanted.ipv6Address ?? "") !== "") {
      throw new GantryError("invalid", "user specified IP address is supported on user defined networks only");
    }
    const member = this.#member(containerId);
    const present = member.endpoints.get(record.id);
    if (present !== undefined) return settingsOf(present);
    const id = randomBytes(32).toString("hex");
    const address = this.#driver(record).join(id, member.sandbox, wanted);
    const endpoint = { id, network: record, containerName: wanted.containerName, address };
    member.endpoints.set(record.id, endpoint);
    this.#announce("connect", containerId, endpoint);
    return settingsOf(endpoint);
  }

  async publish(containerId: string, request: PortRequest): Promise<PortMap> {
    const member = this.#member(containerId);
    const endpoint = this.#publishing(member);
    if (endpoint === undefined) return {};
    this.#unpublish(member);
    try {
      const { publication, shown } = this.#publications.open(endpoint.address.ipv4Address, request);
      member.published = publication;
      return shown;
    } catch (error) {
      throw publishFailure(endpoint, error);
    }
  }

  async release(containerId: string): Promise<void> {
    const member = this.#members.get(containerId);
    if (member === undefined) return this.#sandboxes.remove(containerId);
    try {
      this.#unpublish(member);
      for (const [networkId, endpoint] of member.endpoints) {
        member.endpoints.delete(networkId);
        this.#driver(endpoint.network).leave(endpoint.id, endpoint.address);
        this.#announce("disconnect", containerId, endpoint);
      }
    } finally {
      // Whatever failed before, the links go with the namespace.
      if (member.sandbox !== undefined) this.#sandboxes.remove(containerId);
      member.sandbox = undefined;
      if (member.endpoints.size === 0) this.#members.delete(containerId);
    }
  }

  async reconcile(live: ReadonlyMap<string, LiveSandbox>): Promise<void> {
    for (const containerId of [...this.#members.keys()]) if (!live.has(containerId)) await this.release(containerId);
    const bound = this.#sandboxes.bound();
    for (const [containerId, sandbox] of live) this.#adopt(containerId, sandbox, bound.has(containerId));
    const members = [...this.#members.values()];
    this.#publications.install(members.flatMap(({ published }) => published ?? []));
    for (const containerId of this.#sandboxes.list()) {
      if (!this.#members.has(containerId)) this.#sandboxes.remove(containerId);
    }
    const kept = new Set(members.flatMap(({ endpoints }) => Array.from(endpoints.values(), ({ id }) => id)));
    for (const driver of this.#drivers.values()) driver.prune(kept);
  }

  async shutdown(): Promise<void> {
    for (const containerId of [...this.#members.keys()]) await this.release(containerId);
    for (const driver of this.#drivers.values()) driver.close();
    this.#firewall.close();
    this.detach();
  }

  /** Lets go of sockets and handles and leaves containers, links and rules as they are, for the next engine. */
  detach(): void {
    if (this.#isDetached) return;
    this.#isDetached = true;
    for (const { published } of this.#members.values()) for (const port of published?.held ?? []) port.close();
    this.#netlink.close();
  }

  #openBridge(store: Store, config: NetworksConfig): BridgeDriver {
    const records = store.collection<NetworkRecord>("networks");
    const record = ensureRecord(records, "bridge", "bridge");
    const mtu = config.mtu ?? 1500;
    const pools = config.defaultAddressPools ?? [];
    const bridge = ensureBridge(this.#netlink, {
      engineId: config.engineId,
      bridgeName: config.bridgeName,
      bip: config.bip === undefined || config.bip === "" ? undefined : checkBip(config.bip),
      pools: pools.length === 0 ? DEFAULT_POOLS : pools,
      mtu,
      remembered: record.bridge,
    });
    const subnet = formatSubnet(bridge.subnet);
    if (record.bridge !== undefined && record.bridge.subnet !== subnet) {
      this.#logger.info("the default bridge has a new subnet", { before: record.bridge.subnet, now: subnet });
    }
    const current: NetworkRecord = {
      ...record,
      options: defaultBridgeOptions(bridge.interface, mtu),
      bridge: { interface: bridge.interface, subnet, gateway: bridge.gateway },
    };
    if (JSON.stringify(current) !== JSON.stringify(record)) records.put(record.id, current);
    const driver = new BridgeDriver({ netlink: this.#netlink, bridge, mtu });
    this.#register(current, driver);
    return driver;
  }

  #register(record: NetworkRecord, driver: NetworkDriver): void {
    this.#records.set(record.id, record);
    this.#drivers.set(record.id, driver);
  }

  #driver(record: NetworkRecord): NetworkDriver {
    return this.#drivers.get(record.id)!;
  }

  #member(containerId: string): Membership {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(containerId))
      throw new GantryError("invalid", `invalid container id: ${containerId}`);
    let member = this.#members.get(containerId);
    if (member === undefined) {
      member = { sandbox: undefined, endpoints: new Map(), published: undefined };
      this.#members.set(containerId, member);
    }
    return member;
  }

  #publishing({ endpoints }: Membership): Endpoint | undefined {
    return endpoints.values().find(({ network }) => this.#driver(network).publishes);
  }

  #unpublish(member: Membership): void {
    const { published } = member;
    if (published === undefined) return;
    member.published = undefined;
    this.#publications.close(published);
  }

  #adopt(containerId: string, { networks, ports, containerName }: LiveSandbox, bound: boolean): void {
    const member = this.#member(containerId);
    if (bound) member.sandbox ??= this.#sandboxes.path(containerId);
    for (const settings of Object.values(networks)) {
      const network = this.#records.get(settings.NetworkID);
      if (network === undefined || settings.EndpointID === "" || member.endpoints.has(network.id)) continue;
      const address = {
        ipv4Address: settings.IPAddress,
        prefix: settings.IPPrefixLen,
        gateway: settings.Gateway,
        macAddress: settings.MacAddress,
      };
      member.endpoints.set(network.id, {
        id: settings.EndpointID,
        network,
        containerName: containerName ?? "",
        address,
      });
      this.#driver(network).adopt(settings.EndpointID, address);
    }
    const endpoint = this.#publishing(member);
    if (endpoint !== undefined) member.published ??= this.#publications.reopen(endpoint.address.ipv4Address, ports);
  }

  #announce(action: "connect" | "disconnect", containerId: string, { network, containerName }: Endpoint): void {
    const attributes = { container: containerId, name: network.name, type: network.driver };
    this.#events.publish({ type: "network", action, id: network.id, attributes });
    this.#logger.debug(`network ${action}`, { container: containerId, name: containerName, network: network.name });
  }

  #enableForwarding(): void {
    if (readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim() === "1") return;
    writeSysctl("net/ipv4/ip_forward", "1");
    this.#logger.warn(
      "net.ipv4.ip_forward was off and is on now: containers need it. This host routes for its neighbours too",
    );
  }
}

function publishFailure({ id, containerName }: Endpoint, cause: unknown): GantryError {
  const kind = cause instanceof GantryError ? cause.kind : "internal";
  const text = `driver failed programming external connectivity on endpoint ${containerName} (${id}): ${messageOf(cause)}`;
  return new GantryError(kind, text, { cause });
}

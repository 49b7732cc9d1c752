import { randomBytes } from "node:crypto";
import type { EndpointSettings, PortMap } from "../api/container.ts";
import type { NetworkContainer, NetworkInspect } from "../api/network.ts";
import type { NetworkCreateRequest } from "../api/network-request.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import { Netlink } from "../kernel/netlink.ts";
import type { Store } from "../state/store.ts";
import type { NetworksConfig } from "./config.ts";
import type { Plugged } from "./driver.ts";
import { addressOf, checkSettings, containerRow, dnsNamesOf, type Endpoint, settingsOf } from "./endpoint.ts";
import { isNamed } from "./endpoint-options.ts";
import { Firewall } from "./firewall.ts";
import { FirewallGuard } from "./firewall-guard.ts";
import { ForeignRules } from "./foreign-rules.ts";
import { gatewayOf } from "./gateway.ts";
import { Links } from "./links.ts";
import { Members, type Membership } from "./members.ts";
import type {
  ContainerLink,
  EndpointRequest,
  LiveSandbox,
  NetworkController,
  NetworkSummary,
  PortRequest,
  SandboxRequest,
  SandboxState,
} from "./network.ts";
import { HostPorts } from "./ports.ts";
import { Publications } from "./publications.ts";
import { publishingOf } from "./published-place.ts";
import { isPredefined, type NetworkRecord } from "./record.ts";
import { NetworkRegistry } from "./registry.ts";
import { Resolvers } from "./resolvers.ts";
import { routeThrough, Sandboxes } from "./sandbox.ts";
import { removeStrays } from "./sharing.ts";
import { type Family, familyOf } from "./subnet.ts";
import { Surroundings } from "./surroundings.ts";

export interface NetworksPorts {
  readonly store: Store;
  readonly events: EventBus;
  readonly logger: Logger;
  readonly config: NetworksConfig;
}

/**
 * The networks of one engine: its bridges, its table of the packet filter, its sandboxes. Made before anything else
 * of the engine asks for a network; call `reconcile` once then. Belongs to the network namespace it was made in.
 */
export class Networks implements NetworkController {
  readonly #events: EventBus;
  readonly #logger: Logger;
  readonly #netlink = new Netlink();
  #isDetached = false;
  readonly #members = new Members();
  readonly #resolvers: Resolvers;
  readonly #hostGatewayIPs: readonly string[];
  readonly #sandboxes: Sandboxes;
  readonly #registry: NetworkRegistry;
  readonly #firewall: Firewall;
  readonly #guard: FirewallGuard;
  readonly #foreignRules: ForeignRules;
  readonly #publications: Publications;
  readonly #surroundings: Surroundings;
  readonly #links: Links;

  constructor({ store, events, logger, config }: NetworksPorts) {
    this.#events = events;
    this.#logger = logger;
    if (!/^[A-Za-z0-9-]{1,32}$/.test(config.engineId))
      throw new GantryError("invalid", `invalid engine id: ${config.engineId}`);
    this.#hostGatewayIPs = config.hostGatewayIPs ?? [];
    this.#resolvers = new Resolvers({ names: this.#members.names, hostGatewayIPs: this.#hostGatewayIPs, logger });
    this.#sandboxes = new Sandboxes(config.execRoot);
    this.#firewall = new Firewall({ table: `gantry-${config.engineId}`, publish: config.publish, logger });
    this.#registry = new NetworkRegistry({ store, logger, config, netlink: this.#netlink, firewall: this.#firewall });
    this.#publications = new Publications({
      firewall: this.#firewall,
      ports: new HostPorts({ userlandProxy: config.userlandProxy ?? true }),
      logger,
      driverOf: (network) => this.#registry.driver(network),
    });
    this.#links = new Links({
      firewall: this.#firewall,
      members: this.#members,
      network: () => {
        const record = this.#registry.find("bridge");
        return this.#registry.driver(record).firewall?.neighbours === false ? record : undefined;
      },
      logger,
    });
    this.#surroundings = new Surroundings({
      netlink: this.#netlink,
      events,
      logger,
      bridges: () => this.#registry.bridges(),
      mend: (record) => this.#mend(record),
    });
    // A table that is there serves containers that outlived the engine until reconcile knows of them.
    if (!this.#firewall.exists()) this.#firewall.install({ mappings: [], openPorts: [] });
    this.#foreignRules = new ForeignRules({
      bridge: this.#registry.defaultInterface,
      publish: config.publish ?? "open",
      logger,
    });
    const table = `gantry-${config.engineId}`;
    this.#guard = new FirewallGuard({
      firewall: this.#firewall,
      logger,
      onOther: () => this.#foreignRules.changed(),
      onRestored: (by) =>
        events.publish({ type: "network", action: "restore-rules", id: "", attributes: { by, table } }),
    });
  }

  inspect(nameOrId: string): NetworkInspect {
    return this.#registry.inspect(this.#registry.find(nameOrId), this.#rowsOf(nameOrId));
  }

  list(): NetworkInspect[] {
    return this.#registry.all().map((record) => this.#registry.inspect(record, this.#rowsOf(record.id)));
  }

  find(nameOrId: string): NetworkSummary {
    return summaryOf(this.#registry.find(nameOrId));
  }

  summaries(): NetworkSummary[] {
    return this.#registry.all().map(summaryOf);
  }

  async create(request: NetworkCreateRequest): Promise<{ readonly id: string; readonly warning: string }> {
    const { record, warning } = await this.#registry.create(request);
    this.#publish("create", record);
    if (warning !== "") this.#logger.warn(warning, { network: record.name });
    return { id: record.id, warning };
  }

  async remove(nameOrId: string): Promise<void> {
    const record = this.#registry.find(nameOrId);
    if (isPredefined(record)) {
      throw new GantryError("forbidden", `${record.name} is a pre-defined network and cannot be removed`);
    }
    if (this.#members.on(record.id).length > 0) {
      const why = `network ${record.name} id ${record.id} has active endpoints`;
      throw new GantryError("forbidden", `error while removing network: ${why}`);
    }
    await this.#registry.remove(record);
    this.#publish("destroy", record);
  }

  async prune(isChosen: (network: NetworkInspect) => boolean): Promise<string[]> {
    const removed: string[] = [];
    for (const record of this.#registry.all()) {
      if (isPredefined(record) || record.configOnly || this.#members.on(record.id).length > 0) continue;
      if (!isChosen(this.#registry.inspect(record, {}))) continue;
      try {
        await this.remove(record.id);
        removed.push(record.name);
      } catch (error) {
        // Somebody has joined it, or another network lives by its configuration.
        this.#logger.debug("a network was not pruned", { network: record.name, cause: messageOf(error) });
      }
    }
    this.#events.publish({ type: "network", action: "prune", id: "", attributes: { reclaimed: "0" } });
    return removed;
  }

  createSandbox(containerId: string, request: SandboxRequest = { dns: [] }): { readonly path: string } {
    const member = this.#members.of(containerId);
    member.dns = request.dns;
    member.sandbox ??= this.#sandboxes.create(containerId);
    return { path: member.sandbox };
  }

  checkEndpoint(network: string, settings: Partial<EndpointSettings>): void {
    checkSettings(this.#registry.find(network), settings);
  }

  async connect(containerId: string, network: string, wanted: EndpointRequest): Promise<EndpointSettings> {
    const record = this.#registry.find(network);
    const { containerName, settings = {} } = wanted;
    checkSettings(record, settings);
    const member = this.#members.of(containerId);
    if (member.endpoints.has(record.id)) {
      throw new GantryError(
        "forbidden",
        `endpoint with name ${containerName} already exists in network ${record.name}`,
      );
    }
    const driver = this.#registry.driver(record);
    const candidates = [...member.endpoints.values(), { network: record, settings }];
    const isDefault = {
      ipv4: gatewayOf(candidates, 4)?.network === record,
      ipv6: gatewayOf(candidates, 6)?.network === record,
    };
    const id = randomBytes(32).toString("hex");
    const address = driver.join(id, member.sandbox, {
      owner: containerId,
      unnamed: [...member.endpoints.values()].filter((other) => !isNamed(other.settings)).length,
      settings,
      isDefault,
    });
    const dnsNames = dnsNamesOf(containerId, containerName, wanted.hostname, settings.Aliases);
    const endpoint: Endpoint = { id, network: record, containerId, containerName, settings, dnsNames, address };
    this.#members.enter(member, endpoint);
    failpoint("networks.connect.entered");
    try {
      if (!isPredefined(record)) this.#resolvers.open(member);
      this.#publications.move(member);
    } catch (error) {
      this.#members.leave(member, endpoint);
      await driver.unplug(pluggedOf(endpoint, member));
      this.#setGateways(member);
      throw error;
    }
    if (record.name === "bridge") this.#links.joined(containerId);
    this.#announce("connect", endpoint);
    return settingsOf(endpoint);
  }

  async disconnect(containerId: string, network: string): Promise<void> {
    const record = this.#registry.find(network);
    const member = this.#members.get(containerId);
    const endpoint = member?.endpoints.get(record.id);
    if (member === undefined || endpoint === undefined) {
      throw new GantryError("forbidden", `container ${containerId} is not connected to network ${record.name}`);
    }
    if (record.name === "bridge") this.#links.left(containerId);
    this.#members.leave(member, endpoint);
    this.#setGateways(member);
    this.#publications.move(member);
    failpoint("networks.disconnect.left");
    await this.#registry.driver(record).unplug(pluggedOf(endpoint, member));
    this.#announce("disconnect", endpoint);
  }

  async publish(containerId: string, request: PortRequest): Promise<PortMap> {
    return this.#publications.open(this.#members.of(containerId), request);
  }

  link(containerId: string, links: readonly ContainerLink[]): void {
    this.#links.set(containerId, links);
  }

  publishWarning(): string | undefined {
    return this.#foreignRules.warning;
  }

  state(containerId: string): SandboxState {
    const member = this.#members.get(containerId);
    const endpoints = [...(member?.endpoints.values() ?? [])];
    return {
      networks: Object.fromEntries(endpoints.map((endpoint) => [endpoint.network.name, settingsOf(endpoint)])),
      hasResolver: member?.resolver !== undefined,
    };
  }

  hostGateways(): readonly string[] {
    const { bridge } = this.#registry.find("bridge");
    const chosen = this.#hostGatewayIPs;
    const addressOf = (family: Family, own: string | undefined) =>
      chosen.find((address) => familyOf(address) === family) ?? own ?? [];
    return [addressOf(4, bridge?.ipv4?.gateway), addressOf(6, bridge?.ipv6?.gateway)].flat();
  }

  withdraw(containerId: string): void {
    this.#members.withdraw(containerId);
  }

  rename(containerId: string, name: string): void {
    const member = this.#members.get(containerId);
    if (member === undefined) return;
    for (const endpoint of [...member.endpoints.values()]) {
      const others = endpoint.dnsNames.filter((each) => each !== endpoint.containerName && each !== name);
      this.#members.leave(member, endpoint);
      this.#members.enter(member, { ...endpoint, containerName: name, dnsNames: [name, ...others] });
    }
  }

  async release(containerId: string): Promise<void> {
    const member = this.#members.get(containerId);
    if (member === undefined) return this.#sandboxes.remove(containerId);
    try {
      member.resolver?.close();
      member.resolver = undefined;
      this.#publications.close(member);
      this.#links.forget(containerId);
      for (const endpoint of [...member.endpoints.values()]) {
        this.#members.leave(member, endpoint);
        this.#registry.driver(endpoint.network).leave(pluggedOf(endpoint, member));
        failpoint("networks.release.left");
        this.#announce("disconnect", endpoint);
      }
    } finally {
      // Whatever failed before, the links go with the namespace.
      if (member.sandbox !== undefined) this.#sandboxes.remove(containerId);
      member.sandbox = undefined;
      this.#members.forget(containerId);
    }
  }

  async reconcile(live: ReadonlyMap<string, LiveSandbox>): Promise<void> {
    for (const containerId of this.#members.containerIds()) if (!live.has(containerId)) await this.release(containerId);
    const bound = this.#sandboxes.bound();
    for (const [containerId, sandbox] of live) this.#adopt(containerId, sandbox, bound.has(containerId));
    const members = this.#members.all();
    const linked = this.#links.adopt(new Map(Array.from(live, ([id, { links = [] }]) => [id, links])));
    this.#publications.install(
      members.flatMap(({ published }) => published ?? []),
      linked,
    );
    for (const containerId of this.#sandboxes.list()) {
      if (this.#members.get(containerId) === undefined) this.#sandboxes.remove(containerId);
    }
    if (this.#registry.hasLinksInside()) this.#removeStrays();
    this.#registry.prune((networkId) => new Set(this.#members.on(networkId).map(({ id }) => id)));
    this.#surroundings.look();
  }

  async shutdown(): Promise<void> {
    // What goes from here on is to stay away.
    this.#surroundings.close();
    for (const containerId of this.#members.containerIds()) await this.release(containerId);
    await this.#registry.close();
    this.#firewall.close();
    this.detach();
  }

  /** Lets go of sockets and handles and leaves containers, links and rules as they are, for the next engine. */
  detach(): void {
    if (this.#isDetached) return;
    this.#isDetached = true;
    for (const { published, resolver } of this.#members.all()) {
      resolver?.close();
      for (const port of published?.held ?? []) port.close();
    }
    this.#registry.detach();
    this.#guard.close();
    this.#foreignRules.close();
    this.#surroundings.close();
    this.#netlink.close();
  }

  /** After somebody deleted its bridge. */
  #mend(record: NetworkRecord): void {
    this.#registry.mend(record, this.#members.on(record.id));
    const isPublishing = (member: Membership) =>
      member.published !== undefined && publishingOf(member)?.network.id === record.id;
    if (this.#members.all().some(isPublishing)) this.#registry.driver(record).routeLoopback();
  }

  #removeStrays(): void {
    for (const { sandbox, endpoints } of this.#members.all()) {
      if (sandbox === undefined) continue;
      removeStrays(
        sandbox,
        Array.from(endpoints.values(), ({ id }) => id),
      );
    }
  }

  #rowsOf(nameOrId: string): Record<string, NetworkContainer> {
    const endpoints = this.#members.on(this.#registry.find(nameOrId).id);
    return Object.fromEntries(endpoints.map((endpoint) => [endpoint.containerId, containerRow(endpoint)]));
  }

  /** Leads the sandbox's default routes through the endpoints that are first now. */
  #setGateways({ sandbox, endpoints }: Membership): void {
    if (sandbox === undefined) return;
    const families = [4, 6] as const;
    const waysOut = families.flatMap((family) => {
      const endpoint = gatewayOf(endpoints.values(), family);
      if (endpoint === undefined) return [];
      return this.#registry.driver(endpoint.network).wayOut(endpoint.id, endpoint.address, family) ?? [];
    });
    routeThrough(sandbox, waysOut);
  }

  #adopt(containerId: string, live: LiveSandbox, bound: boolean): void {
    const member = this.#members.of(containerId);
    const containerName = live.containerName ?? "";
    member.dns = live.dns ?? [];
    if (bound) member.sandbox ??= this.#sandboxes.path(containerId);
    member.isInherited = true;
    for (const settings of Object.values(live.networks)) {
      const network = this.#registry.get(settings.NetworkID);
      if (network === undefined || settings.EndpointID === "" || member.endpoints.has(network.id)) continue;
      const address = addressOf(settings);
      const id = settings.EndpointID;
      const dnsNames =
        settings.DNSNames ?? dnsNamesOf(containerId, containerName, live.hostname ?? "", settings.Aliases);
      this.#members.enter(member, { id, network, containerId, containerName, settings, dnsNames, address });
      this.#registry.driver(network).adopt(id, address);
    }
    if (live.hasResolver === true) this.#resolvers.reopen(containerId, member);
    this.#publications.reopen(member, live.ports);
  }

  #announce(action: "connect" | "disconnect", { network, containerId, containerName }: Endpoint): void {
    this.#publish(action, network, { container: containerId });
    this.#logger.debug(`network ${action}`, { container: containerId, name: containerName, network: network.name });
  }

  #publish(action: string, network: NetworkRecord, more: Readonly<Record<string, string>> = {}): void {
    const attributes = { ...more, name: network.name, type: network.driver };
    this.#events.publish({ type: "network", action, id: network.id, attributes });
  }
}

function summaryOf(record: NetworkRecord): NetworkSummary {
  const { id, name, driver, internal } = record;
  return { id, name, driver, isUserDefined: !isPredefined(record), isInternal: internal };
}

function pluggedOf({ id, address, containerId }: Endpoint, { sandbox }: Membership): Plugged {
  return { id, address, owner: containerId, sandbox };
}

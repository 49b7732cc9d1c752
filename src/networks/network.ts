import type { EndpointSettings, PortMap } from "../api/container.ts";
import type { NetworkInspect } from "../api/network.ts";
import type { NetworkCreateRequest } from "../api/network-request.ts";
import type { NetworkDriverName } from "./record.ts";

/**
 * What the routes and a container's start ask of the networks. A *sandbox* is a network namespace bound under the exec
 * root; an *endpoint* is a sandbox's membership of one network. Calls for one container come one at a time.
 */
export interface NetworkController {
  /** Names, ids and id prefixes as the API takes them; refused with not-found "network X not found". */
  inspect(nameOrId: string): NetworkInspect;
  list(): NetworkInspect[];
  /** As `inspect`, without the members. */
  find(nameOrId: string): NetworkSummary;
  summaries(): NetworkSummary[];

  /** Resolves when the network works and is on the disk. Refusals have Docker's words. */
  create(request: NetworkCreateRequest): Promise<{ readonly id: string; readonly warning: string }>;
  /** Forbidden for one that is always there, or that has members. */
  remove(nameOrId: string): Promise<void>;
  /** Removes those without members of which `isChosen` is true; resolves with their names. */
  prune(isChosen: (network: NetworkInspect) => boolean): Promise<string[]>;

  /** Makes the sandbox, its loopback and nothing else. Path is to be the `network` namespace of the container. */
  createSandbox(containerId: string, request?: SandboxRequest): { readonly path: string };
  /** Joins the sandbox to a network: veth, addresses, routes, names. Resolves with what inspect shows. */
  connect(containerId: string, network: string, wanted: EndpointRequest): Promise<EndpointSettings>;
  /** Takes a sandbox that goes on out of a network; forbidden if it is not on it. */
  disconnect(containerId: string, network: string): Promise<void>;
  /** Refuses settings that `connect` would refuse whatever else is on the network: kind invalid. */
  checkEndpoint(network: string, settings: Partial<EndpointSettings>): void;
  /** Publishes ports of a connected sandbox; "port is already allocated" conflicts undo all of the call. */
  publish(containerId: string, ports: PortRequest): Promise<PortMap>;
  /**
   * Which ports of others on the default network the container may call, where its members don't reach each other; in
   * place of what was said before. Each holds whenever both are there, until `release`.
   */
  link(containerId: string, links: readonly ContainerLink[]): void;
  /** Why ports that are published may not be reached by other machines, and what helps; undefined if nothing is known. */
  publishWarning(): string | undefined;
  /** What a sandbox has now: its endpoints by their networks' names, and whether the engine answers its DNS queries. */
  state(containerId: string): SandboxState;
  /** The host's addresses as containers are told of them: the configured ones, else the default bridge's. */
  hostGateways(): readonly string[];
  /** The container is about to end: nobody finds it by its names or address any more. */
  withdraw(containerId: string): void;
  /** The container's name has changed: names on its networks, and what `state` shows of them. */
  rename(containerId: string, name: string): void;
  /** Takes down published ports, endpoints, addresses and the sandbox; no error for what isn't there. */
  release(containerId: string): Promise<void>;

  /** After a restart: keeps what belongs to `live`, removes the rest (namespaces, links, rules, addresses). */
  reconcile(live: ReadonlyMap<string, LiveSandbox>): Promise<void>;
  /** Takes down bridges and rules, for an engine that ends with no containers left; records stay. */
  shutdown(): Promise<void>;
}

/** A network as lists show it. */
export interface NetworkSummary {
  readonly id: string;
  readonly name: string;
  readonly driver: NetworkDriverName;
  /** True for all but bridge, host and none. */
  readonly isUserDefined: boolean;
  readonly isInternal: boolean;
}

export interface SandboxRequest {
  /** The name servers that the user chose; empty for the host's. */
  readonly dns: readonly string[];
}

export interface EndpointRequest {
  readonly containerName: string;
  readonly hostname: string;
  /** The user's wishes; what the engine fills in is not looked at. */
  readonly settings?: Partial<EndpointSettings>;
}

export interface PortRequest {
  /** PortBindings of the HostConfig. */
  readonly bindings: PortMap;
  /** `80/tcp` keys of exposed ports, used with `publishAll`. */
  readonly exposed: readonly string[];
  readonly publishAll: boolean;
}

export interface ContainerLink {
  /** The other container's id. */
  readonly to: string;
  /** As `80/tcp`. */
  readonly ports: readonly string[];
}

export interface SandboxState {
  readonly networks: Readonly<Record<string, EndpointSettings>>;
  /** It is to ask 127.0.0.11. */
  readonly hasResolver: boolean;
}

/** What a record says of a sandbox that a running container is in: what an engine that starts takes up again. */
export interface LiveSandbox {
  /** Without the leading slash; shown by inspect. */
  readonly containerName?: string;
  readonly hostname?: string;
  readonly networks: Readonly<Record<string, EndpointSettings>>;
  readonly ports: PortMap;
  readonly links?: readonly ContainerLink[];
  readonly dns?: readonly string[];
  readonly hasResolver?: boolean;
}

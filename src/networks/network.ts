import type { EndpointSettings, PortMap } from "../api/container.ts";
import type { NetworkInspect } from "../api/network.ts";

/**
 * What a container's start asks of its networks. A *sandbox* is a network namespace bound under the exec root; an
 * *endpoint* is a sandbox's membership of one network. All calls are idempotent per container id, so that boot can
 * settle what a crash left half done.
 */
export interface NetworkController {
  /** Names, ids and id prefixes as the API takes them; refused with not-found "network X not found". */
  inspect(nameOrId: string): NetworkInspect;
  list(): NetworkInspect[];

  /** Makes the sandbox, its loopback and nothing else. Path is to be the `network` namespace of the container. */
  createSandbox(containerId: string): { readonly path: string };
  /**
   * Joins the sandbox to a network: veth, address, routes. Resolves with the settings as inspect shows them.
   */
  connect(containerId: string, network: string, wanted: EndpointRequest): Promise<EndpointSettings>;
  /** Publishes ports of a connected sandbox; "port is already allocated" conflicts undo all of the call. */
  publish(containerId: string, ports: PortRequest): Promise<PortMap>;
  /** Takes down published ports, endpoints, addresses and the sandbox; no error for what isn't there. */
  release(containerId: string): Promise<void>;

  /** After a restart: keeps what belongs to `live`, removes the rest (namespaces, links, rules, addresses). */
  reconcile(live: ReadonlyMap<string, LiveSandbox>): Promise<void>;
  /** Takes down bridges and rules, for an engine that ends with no containers left. */
  shutdown(): Promise<void>;
}

export interface EndpointRequest {
  readonly containerName: string;
  readonly hostname: string;
  readonly macAddress?: string;
  readonly ipv4Address?: string;
  readonly ipv6Address?: string;
  readonly aliases?: readonly string[];
}

export interface PortRequest {
  /** PortBindings of the HostConfig. */
  readonly bindings: PortMap;
  /** `80/tcp` keys of exposed ports, used with `publishAll`. */
  readonly exposed: readonly string[];
  readonly publishAll: boolean;
}

export interface LiveSandbox {
  /** Without the leading slash; shown by inspect. */
  readonly containerName?: string;
  readonly networks: Readonly<Record<string, EndpointSettings>>;
  readonly ports: PortMap;
}

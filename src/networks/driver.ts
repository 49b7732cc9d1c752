import type { EndpointRequest } from "./network.ts";

/** What a driver gave an endpoint; empty texts and 0 where the network has no such thing. */
export interface EndpointAddress {
  readonly ipv4Address: string;
  readonly prefix: number;
  readonly gateway: string;
  readonly macAddress: string;
}

export const NO_ADDRESS: EndpointAddress = { ipv4Address: "", prefix: 0, gateway: "", macAddress: "" };

/** One kind of network. An endpoint is told by its id. */
export interface NetworkDriver {
  /** True if ports can be published at its endpoints. */
  readonly publishes: boolean;
  /** Links the sandbox at `sandbox` (undefined: the host's own namespace). All or nothing. */
  join(endpointId: string, sandbox: string | undefined, wanted: EndpointRequest): EndpointAddress;
  /** Takes the endpoint down; no error for what isn't there. */
  leave(endpointId: string, address: EndpointAddress): void;
  /** Takes over an endpoint that an earlier engine made. */
  adopt(endpointId: string, address: EndpointAddress): void;
  /** Removes what belongs to none of these endpoints. */
  prune(endpointIds: ReadonlySet<string>): void;
  /** Removes the network's own links. */
  close(): void;
}

/** GET /networks/{id}; a row of GET /networks has the same fields. */
export interface NetworkInspect {
  Name: string;
  Id: string;
  Created: string;
  Scope: string;
  Driver: string;
  EnableIPv4: boolean;
  EnableIPv6: boolean;
  IPAM: { Driver: string; Options: Record<string, string> | null; Config: IpamConfig[] };
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigFrom: { Network: string };
  ConfigOnly: boolean;
  Containers: Record<string, NetworkContainer>;
  Options: Record<string, string> | null;
  Labels: Record<string, string> | null;
}

export interface IpamConfig {
  Subnet: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string>;
}

export interface NetworkContainer {
  Name: string;
  EndpointID: string;
  MacAddress: string;
  /** CIDR. */
  IPv4Address: string;
  IPv6Address: string;
}

/** Answer of POST /networks/create. */
export interface NetworkCreateResponse {
  Id: string;
  Warning: string;
}

/** Answer of POST /networks/prune. */
export interface NetworksPruneResponse {
  /** Names. */
  NetworksDeleted: string[] | null;
}

import type { DefaultAddressSettings } from "./default-addresses.ts";
import type { PublishMode } from "./filter-rules.ts";
import type { AddressPoolConfig } from "./subnet.ts";

/** What other networks have as options of theirs. */
export interface DefaultBridgeSettings {
  /** `--icc`: its containers reach each other. */
  readonly neighbours: boolean;
  /** `--ip-masq`: its containers go out behind the host's address. */
  readonly masquerade: boolean;
  /** `--ip`: the host's address that ports are published on which name none; "" for all, of both families. */
  readonly hostBinding: string;
}

/** What of the engine's configuration shapes its networks. */
export interface NetworksConfig {
  /** Short, unique to the data root, of letters, digits and hyphens. */
  readonly engineId: string;
  readonly execRoot: string;
  /** The default bridge's interface, unless another engine has one of that name. */
  readonly bridgeName: string;
  /** Of the default bridge. */
  readonly defaultAddresses?: DefaultAddressSettings;
  /** Settings of the default bridge alone; missing: containers reach each other and go out behind the host's address. */
  readonly defaultBridge?: DefaultBridgeSettings;
  /** `--default-address-pool`; empty or missing: Docker's own. */
  readonly defaultAddressPools?: readonly AddressPoolConfig[];
  /** What the host is called by in containers, one address a family; the default bridge's own if it is missing. */
  readonly hostGatewayIPs?: readonly string[];
  /** Default 1500. */
  readonly mtu?: number;
  /** Default true. */
  readonly userlandProxy?: boolean;
  /** Default "open". */
  readonly publish?: PublishMode;
}

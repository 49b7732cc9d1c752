import type { PublishMode } from "./filter-rules.ts";
import type { AddressPoolConfig } from "./subnet.ts";

/** What of the engine's configuration shapes its networks. */
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
  /** What the host is called by in containers, one address a family; the default bridge's own if it is missing. */
  readonly hostGatewayIPs?: readonly string[];
  /** Default 1500. */
  readonly mtu?: number;
  /** Default true. */
  readonly userlandProxy?: boolean;
  /** Default "open". */
  readonly publish?: PublishMode;
}

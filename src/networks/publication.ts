import type { Openings, Protocol } from "./firewall.ts";
import type { HeldPort } from "./ports.ts";

/** One address of the host that one of the container's ports is published at. */
export interface Claim {
  readonly protocol: Protocol;
  readonly hostIp: string;
  /** 0 for one that no port of the host leads to: the container's own address is called. */
  readonly hostPort: number;
  readonly containerPort: number;
}

/** The published ports of one container. */
export interface Publication {
  /** The container's addresses that they lead to; "" for a family that none does. */
  readonly ipv4: string;
  readonly ipv6: string;
  readonly held: readonly HeldPort[];
  readonly claims: readonly Claim[];
  readonly openings: Openings;
}

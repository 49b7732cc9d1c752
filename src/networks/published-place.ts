import { isIPv4 } from "node:net";
import type { NetworkDriver } from "./driver.ts";
import type { Endpoint } from "./endpoint.ts";
import type { GatewayMode } from "./firewall.ts";
import { gatewayOf } from "./gateway.ts";
import type { Membership } from "./members.ts";
import type { NetworkRecord } from "./record.ts";

/** Where a container's ports are published. */
export interface PublishedPlace {
  /** The container's addresses; "" for a family that it has none of. */
  readonly ipv4: string;
  readonly ipv6: string;
  readonly modes: { readonly ipv4: GatewayMode; readonly ipv6: GatewayMode };
  /** The network has links of the host that it trusts. */
  readonly hasTrusted: boolean;
  /** For bindings that name no address of the host; "" for all of them. */
  readonly hostBinding: string;
  /** Called before the first mapping of the host's loopback. */
  readonly routeLoopback: () => void;
  /** What others are told of who has the port. */
  readonly owner: () => string;
}

/** Nothing is published on the wire of another link: there the container has an address of its own. */
export function publishingOf({ endpoints }: Membership): Endpoint | undefined {
  const gateway = gatewayOf(endpoints.values(), 4) ?? gatewayOf(endpoints.values(), 6);
  return gateway?.network.driver === "bridge" ? gateway : undefined;
}

/** Of a container with this endpoint to publish on: each family leads to where its own packets of it leave. */
export function placeOf(
  { endpoints }: Membership,
  publishing: Endpoint,
  driverOf: (network: NetworkRecord) => NetworkDriver,
): PublishedPlace {
  const four = gatewayOf(endpoints.values(), 4);
  const six = gatewayOf(endpoints.values(), 6);
  const rulesOf = (each: Endpoint | undefined) => (each === undefined ? undefined : driverOf(each.network).firewall);
  return {
    ipv4: four?.address.ipv4Address ?? "",
    ipv6: six?.address.ipv6Address ?? "",
    modes: {
      ipv4: rulesOf(four)?.gatewayModes?.ipv4 ?? "nat",
      ipv6: rulesOf(six)?.gatewayModes?.ipv6 ?? "nat",
    },
    hasTrusted: [four, six].some((each) => (rulesOf(each)?.trustedInterfaces ?? []).length > 0),
    hostBinding: driverOf(publishing.network).hostBinding,
    routeLoopback: () => {
      if (four !== undefined) driverOf(four.network).routeLoopback();
    },
    owner: () => [...endpoints.values()][0]?.containerName ?? publishing.containerName,
  };
}

/** The container's address of the family of one of the host's. */
export function addressFor({ ipv4, ipv6 }: PublishedPlace, hostIp: string): string {
  return isIPv4(hostIp) ? ipv4 : ipv6;
}

/** Of a family that the container doesn't have a call is carried over to the other. */
export function modeAt(place: PublishedPlace, hostIp: string): GatewayMode {
  const isFour = isIPv4(hostIp);
  const family = addressFor(place, hostIp) === "" ? !isFour : isFour;
  return family ? place.modes.ipv4 : place.modes.ipv6;
}

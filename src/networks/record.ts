import { randomBytes } from "node:crypto";
import type { NetworkContainer, NetworkInspect } from "../api/network.ts";
import { GantryError } from "../base/errors.ts";
import type { Collection } from "../state/store.ts";

/** A network as it is kept. Driver "null" is the network none. */
export interface NetworkRecord {
  readonly id: string;
  readonly name: string;
  /** RFC 3339. */
  readonly created: string;
  readonly driver: "bridge" | "host" | "null";
  readonly options: Readonly<Record<string, string>>;
  /** Of bridges only. */
  readonly bridge?: { readonly interface: string; readonly subnet: string; readonly gateway: string };
}

function newNetworkId(): string {
  return randomBytes(32).toString("hex");
}

/** The record of one of the networks that are always there; made when it is missing. */
export function ensureRecord(
  records: Collection<NetworkRecord>,
  name: string,
  driver: NetworkRecord["driver"],
): NetworkRecord {
  const found = records.list().find(({ value }) => value.name === name);
  if (found !== undefined) return found.value;
  const record = { id: newNetworkId(), name, created: new Date().toISOString(), driver, options: {} };
  records.put(record.id, record);
  return record;
}

/** Name, id or an id's unique prefix, in this order. */
export function resolveNetwork(records: Iterable<NetworkRecord>, nameOrId: string): NetworkRecord {
  const all = [...records];
  const exact = all.find(({ name }) => name === nameOrId) ?? all.find(({ id }) => id === nameOrId);
  if (exact !== undefined) return exact;
  const matches = nameOrId === "" ? [] : all.filter(({ id }) => id.startsWith(nameOrId));
  if (matches.length > 1) {
    throw new GantryError(
      "invalid",
      `network ${nameOrId} is ambiguous (${matches.length} matches found based on ID prefix)`,
    );
  }
  const [match] = matches;
  if (match === undefined) throw new GantryError("not-found", `network ${nameOrId} not found`);
  return match;
}

export function inspectNetwork(record: NetworkRecord, containers: Record<string, NetworkContainer>): NetworkInspect {
  const { bridge } = record;
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: "local",
    Driver: record.driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: {
      Driver: "default",
      Options: null,
      Config: bridge === undefined ? [] : [{ Subnet: bridge.subnet, Gateway: bridge.gateway }],
    },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: containers,
    Options: { ...record.options },
    Labels: {},
  };
}

/** The default bridge's options as inspect shows them. */
export function defaultBridgeOptions(name: string, mtu: number): Record<string, string> {
  return {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    "com.docker.network.bridge.name": name,
    "com.docker.network.driver.mtu": String(mtu),
  };
}

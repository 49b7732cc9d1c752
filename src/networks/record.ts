import { randomBytes } from "node:crypto";
import type { IpamConfig, NetworkContainer, NetworkInspect } from "../api/network.ts";
import { GantryError } from "../base/errors.ts";
import type { Collection } from "../state/store.ts";
import type { DefaultBridgeSettings } from "./config.ts";

export type NetworkDriverName = "bridge" | "macvlan" | "ipvlan" | "host" | "null";

/** A network as it is kept. Driver "null" is the network none, and what only lends its configuration to others. */
export interface NetworkRecord {
  readonly id: string;
  readonly name: string;
  /** RFC 3339. */
  readonly created: string;
  readonly driver: NetworkDriverName;
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  /** It has no members: it only lends its configuration. */
  readonly configOnly: boolean;
  /** The network whose configuration it has; "" for none. */
  readonly configFrom: string;
  /** As the user wrote it. */
  readonly ipam: {
    readonly driver: string;
    readonly options: Readonly<Record<string, string>> | null;
    readonly config: readonly IpamConfig[];
  };
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Of bridges only. */
  readonly bridge?: BridgeRecord;
  /** Of macvlan and ipvlan only. */
  readonly shared?: SharedRecord;
}

/** What a network has that shares the wire of one of the host's links. */
export interface SharedRecord {
  /** The link: a name that is there, a VLAN's (eth0.10), or that of a link to nowhere. */
  readonly parent: string;
  /** It leads nowhere: its members reach each other. */
  readonly isAlone: boolean;
  readonly ipv4: readonly AddressesRecord[];
  readonly ipv6: readonly AddressesRecord[];
}

/** What a bridge has in the kernel; a network without one of the families lacks its addresses. */
export interface BridgeRecord {
  readonly interface: string;
  /** The interface is somebody else's: it was there before and stays. */
  readonly isForeign?: boolean;
  readonly ipv4?: AddressesRecord;
  readonly ipv6?: AddressesRecord;
}

export interface AddressesRecord {
  readonly subnet: string;
  /** The bridge's own address, and its members' way out unless there is a router. */
  readonly gateway: string;
  /** Its members' way out. */
  readonly router?: string;
  /** Where containers' addresses are taken from; the whole subnet if it is missing. */
  readonly range?: string;
  /** Addresses of others. */
  readonly reserved?: readonly string[];
}

/** The networks that are always there. */
const PREDEFINED: ReadonlySet<string> = new Set(["bridge", "host", "none"]);

export function isPredefined({ name }: Pick<NetworkRecord, "name">): boolean {
  return PREDEFINED.has(name);
}

export function newNetwork(name: string, driver: NetworkRecord["driver"]): NetworkRecord {
  return {
    id: randomBytes(32).toString("hex"),
    name,
    created: new Date().toISOString(),
    driver,
    enableIPv4: true,
    enableIPv6: false,
    internal: false,
    attachable: false,
    configOnly: false,
    configFrom: "",
    ipam: { driver: "default", options: null, config: [] },
    options: {},
    labels: {},
  };
}

/** A record of version 0.1's first stage: it lacked the later fields, and its bridge had one subnet. */
type EarlyRecord = Pick<NetworkRecord, "id" | "name" | "created" | "driver" | "options"> & {
  readonly bridge?: BridgeRecord | { readonly interface: string; readonly subnet: string; readonly gateway: string };
};

export function readRecord(stored: NetworkRecord | EarlyRecord): NetworkRecord {
  const { bridge, ...rest } = stored;
  const record = { ...newNetwork(stored.name, stored.driver), ...rest };
  if (bridge === undefined) return record;
  if (!("subnet" in bridge)) return { ...record, bridge };
  return {
    ...record,
    bridge: { interface: bridge.interface, ipv4: { subnet: bridge.subnet, gateway: bridge.gateway } },
  };
}

/** The record of one of the networks that are always there; made when it is missing. */
export function ensureRecord(
  records: Collection<NetworkRecord>,
  name: string,
  driver: NetworkRecord["driver"],
): NetworkRecord {
  const found = records.list().find(({ value }) => value.name === name);
  if (found !== undefined) return readRecord(found.value);
  const record = newNetwork(name, driver);
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
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: "local",
    Driver: record.driver,
    EnableIPv4: record.enableIPv4,
    EnableIPv6: record.enableIPv6,
    IPAM: { Driver: record.ipam.driver, Options: record.ipam.options, Config: shownConfig(record) },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: record.configFrom },
    ConfigOnly: record.configOnly,
    Containers: containers,
    Options: { ...record.options },
    Labels: { ...record.labels },
  };
}

/** What the user wrote, and what the engine chose for a family that the user left out. */
function shownConfig({ ipam, bridge, shared }: NetworkRecord): IpamConfig[] {
  const isFour = ({ Subnet }: IpamConfig) => !Subnet.includes(":");
  const chosen = (addresses: AddressesRecord | undefined): IpamConfig[] =>
    addresses === undefined ? [] : [{ Subnet: addresses.subnet, Gateway: addresses.gateway }];
  const four = ipam.config.filter(isFour);
  const six = ipam.config.filter((config) => !isFour(config));
  return [
    ...(four.length > 0 ? four : chosen(bridge?.ipv4 ?? shared?.ipv4[0])),
    ...(six.length > 0 ? six : chosen(bridge?.ipv6 ?? shared?.ipv6[0])),
  ];
}

/** All subnets that it has. */
export function subnetsOf({ bridge, shared }: NetworkRecord): AddressesRecord[] {
  const ofBridge = [bridge?.ipv4, bridge?.ipv6].filter((addresses) => addresses !== undefined);
  return [...ofBridge, ...(shared?.ipv4 ?? []), ...(shared?.ipv6 ?? [])];
}

/** As Docker's refusals name it. */
export function networkLabel({ name, id }: Pick<NetworkRecord, "name" | "id">): string {
  return `${name} (${id})`;
}

/** The default bridge's options as inspect shows them. */
export function defaultBridgeOptions(
  name: string,
  mtu: number,
  { neighbours, masquerade, hostBinding }: DefaultBridgeSettings,
): Record<string, string> {
  return {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": String(neighbours),
    "com.docker.network.bridge.enable_ip_masquerade": String(masquerade),
    "com.docker.network.bridge.host_binding_ipv4": hostBinding || "0.0.0.0",
    "com.docker.network.bridge.name": name,
    "com.docker.network.driver.mtu": String(mtu),
  };
}

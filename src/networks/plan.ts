import type { IpamConfig } from "../api/network.ts";
import type { NetworkCreateRequest } from "../api/network-request.ts";
import { GantryError } from "../base/errors.ts";
import { type BridgeOptions, readBridgeOptions, refuseUnknownOfBridge } from "./bridge-options.ts";
import { optionOf, readInsidePrefix, readMtu, refuseMtuBelowIPv6, refuseUnknown } from "./driver-options.ts";
import { complaintsOf } from "./ipam-config.ts";
import { refuseUnknownOfIpvlan } from "./ipvlan.ts";
import { refuseUnknownOfMacvlan } from "./macvlan.ts";
import { aloneParent, checkParent } from "./parent.ts";
import {
  type AddressesRecord,
  isPredefined,
  type NetworkRecord,
  newNetwork,
  resolveNetwork,
  subnetsOf,
} from "./record.ts";
import { kindOf } from "./sharing.ts";
import { type Family, formatSubnet, overlaps, parseSubnet, type Subnet } from "./subnet.ts";
import { addressesFor, type SubnetChoice } from "./subnet-choice.ts";

/** What there is already. */
export interface PlanContext extends SubnetChoice {
  /** The interface of this name is there before the network. */
  readonly isThere: (interfaceName: string) => boolean;
}

/** A network that is to be; each step of it gives one for the next subnets that are free, if it chooses any itself. */
export interface Plan {
  readonly record: NetworkRecord;
  /** The subnets are the engine's choice, so that others may be taken where another program was quicker. */
  readonly isChosen: boolean;
  /** What the user should know of it; "" for nothing. */
  readonly warning: string;
}

/** Each is held against all others. */
const MOST_SUBNETS = 256;
const NO_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

/** Checks a create request against what there is, in Docker's words, and says what the network will be. */
export function planNetwork(request: NetworkCreateRequest, context: PlanContext): Plan {
  checkKind(request, context.records);
  const lender = lenderOf(request, context.records);
  const wished = lender === undefined ? request : borrowed(request, lender);
  const ipam = wished.IPAM;
  const enableIPv6 = wished.EnableIPv6 ?? false;
  const enableIPv4 = wished.EnableIPv4 ?? true;
  const config = ipam?.Config ?? [];
  if (config.length > MOST_SUBNETS) {
    throw new GantryError("invalid", `invalid network config: a network has ${MOST_SUBNETS} subnets at most`);
  }
  const ipamDriver = checkIpam(ipam);
  const complaints = config.flatMap((row) => complaintsOf(row, enableIPv6));
  if (complaints.length > 0) throw new GantryError("invalid", `invalid network config:\n${complaints.join("\n")}`);

  const base: NetworkRecord = {
    ...newNetwork(request.Name, request.ConfigOnly ? "null" : driverOf(request)),
    enableIPv4,
    enableIPv6,
    internal: wished.Internal,
    attachable: wished.Attachable,
    configOnly: request.ConfigOnly,
    configFrom: lender?.name ?? "",
    ipam: { driver: ipamDriver, options: ipam?.Options ?? null, config },
    options: wished.Options ?? {},
    labels: wished.Labels ?? {},
  };
  if (request.ConfigOnly) return { record: base, isChosen: false, warning: "" };
  if (enableIPv6) refuseMtuBelowIPv6(base.options);
  return base.driver === "bridge" ? planBridge(base, context) : planShared(base, context);
}

function planBridge(base: NetworkRecord, context: PlanContext): Plan {
  const { enableIPv4, enableIPv6 } = base;
  if (!enableIPv4 && !enableIPv6) throw new GantryError("invalid", "IPv4 or IPv6 must be enabled");
  refuseUnknownOfBridge(base.options);
  const options = readBridgeOptions(base.options, base.internal);
  checkBridge(base, options, context.records);
  if (base.ipam.driver === "null") throw new GantryError("invalid", "ipv4 pool is empty");
  const one = (family: Family): AddressesRecord => {
    const given = givenOf(base, family);
    if (given.length > 1) throw new GantryError("forbidden", "bridge driver doesn't support multiple subnets");
    return addressesFor(family, given[0], ownSubnets(context), context);
  };
  const ipv4 = enableIPv4 ? one(4) : undefined;
  const ipv6 = enableIPv6 ? one(6) : undefined;
  const name = options.name ?? `br-${base.id.slice(0, 12)}`;
  const isForeign = options.name !== undefined && context.isThere(name);
  const bridge = { interface: name, ...(isForeign ? { isForeign } : {}), ipv4, ipv6 };
  const isChosenOf = (family: Family) => givenOf(base, family).length === 0;
  const isChosen = (enableIPv4 && isChosenOf(4)) || (enableIPv6 && isChosenOf(6));
  const asked = [ipv4, ipv6].filter((addresses, at) => addresses !== undefined && !isChosenOf(at === 0 ? 4 : 6));
  // A foreign bridge is expected to have a route to its subnet.
  const warning = isForeign ? "" : shadowOf(asked as AddressesRecord[], context);
  return { record: { ...base, bridge }, isChosen, warning };
}

/** What the host reaches elsewhere and would no more, in a sentence; "" for nothing. */
function shadowOf(asked: readonly AddressesRecord[], { taken }: PlanContext): string {
  if (asked.length === 0) return "";
  const others = taken();
  for (const { subnet: text } of asked) {
    const subnet = parseSubnet(text);
    const other = others.find((one) => overlaps(one, subnet));
    if (other === undefined) continue;
    return `the subnet ${text} overlaps ${formatSubnet(other)}, which this host has an address in or a route to: one of the two can't be reached from now on`;
  }
  return "";
}

/** A macvlan or ipvlan network: nothing of it is the host's but the parent. */
function planShared(base: NetworkRecord, context: PlanContext): Plan {
  const { driver, options, enableIPv4, enableIPv6 } = base;
  if (driver === "macvlan") refuseUnknownOfMacvlan(options);
  else refuseUnknownOfIpvlan(options);
  readMtu(options);
  readInsidePrefix(options);
  const { mode } = kindOf(base);
  const given = optionOf(options, "parent") ?? "";
  if (given !== "") checkParent(driver, given);
  const parent = given === "" ? aloneParent(base) : given;
  checkNeighbours(base, parent, context.records);
  const own = ownSubnets(context);
  const all = (family: Family, isOn: boolean): AddressesRecord[] => {
    if (!isOn || base.ipam.driver === "null") return [];
    const rows = givenOf(base, family);
    const found: AddressesRecord[] = [];
    for (const row of rows.length === 0 ? [undefined] : rows) {
      const others = [...own, ...found.map(({ subnet }) => parseSubnet(subnet))];
      found.push(addressesFor(family, row, others, context));
    }
    return found;
  };
  const shared = { parent, isAlone: given === "", ipv4: all(4, enableIPv4), ipv6: all(6, enableIPv6) };
  if (driver === "ipvlan" && mode !== "l2" && shared.ipv4.length + shared.ipv6.length === 0) {
    throw new GantryError("invalid", `an ipvlan network in mode ${mode} needs addresses: give it a subnet`);
  }
  return { record: { ...base, shared }, isChosen: false, warning: "" };
}

/** Refuses what the kernel would when a container is started. */
function checkNeighbours(base: NetworkRecord, parent: string, records: readonly NetworkRecord[]): void {
  const kind = kindOf(base);
  for (const other of records) {
    if (other.shared?.parent !== parent) continue;
    const { name, driver } = other;
    const theirs = kindOf(other);
    const refuse = (text: string) => {
      throw new GantryError("forbidden", text);
    };
    if (driver !== base.driver) {
      refuse(`${driver} network ${name} is already using parent interface ${parent}: it carries one kind of links`);
    }
    if (kind.mode === "passthru") {
      refuse(`cannot use mode passthru, macvlan network ${name} is already using parent interface ${parent}`);
    }
    if (theirs.mode === "passthru") {
      refuse(`macvlan network ${name} is already using parent interface ${parent} in mode passthru`);
    }
    const isSame =
      kind.kind !== "ipvlan" ||
      theirs.kind !== "ipvlan" ||
      `${kind.mode} ${kind.flag}` === `${theirs.mode} ${theirs.flag}`;
    if (!isSame) refuse(`ipvlan network ${name} is already using parent interface ${parent} in mode ${theirs.mode}`);
  }
}

function givenOf({ ipam }: NetworkRecord, family: Family): readonly IpamConfig[] {
  return ipam.config.filter(({ Subnet }) => Subnet.includes(":") === (family === 6));
}

/** Records never change, and reading a thousand of them takes milliseconds. */
const parsed = new WeakMap<NetworkRecord, readonly Subnet[]>();

function ownSubnets({ records }: PlanContext): Subnet[] {
  return records.flatMap((record) => {
    const known = parsed.get(record) ?? subnetsOf(record).map(({ subnet }) => parseSubnet(subnet));
    parsed.set(record, known);
    return known;
  });
}

function checkIpam(ipam: NetworkCreateRequest["IPAM"]): "default" | "null" {
  const name = ipam?.Driver || "default";
  if (name !== "default" && name !== "null") {
    throw new GantryError("not-found", `plugin ${JSON.stringify(name.slice(0, 100))} not found`);
  }
  refuseUnknown(`the IPAM driver ${name}`, ipam?.Options ?? {}, []);
  if (name === "null" && (ipam?.Config ?? []).length > 0) {
    throw new GantryError("invalid", "null ipam driver does not handle specific address pool requests");
  }
  return name;
}

function driverOf({ Driver }: NetworkCreateRequest): "bridge" | "macvlan" | "ipvlan" {
  return Driver === "macvlan" || Driver === "ipvlan" ? Driver : "bridge";
}

function checkKind(request: NetworkCreateRequest, records: readonly NetworkRecord[]): void {
  const { Name } = request;
  if (Name.trim() === "") throw new GantryError("invalid", "invalid name: name is empty");
  if (isPredefined({ name: Name }) || Name === "default") {
    throw new GantryError("forbidden", `operation is not permitted on predefined ${Name} network`);
  }
  if (request.Ingress) throw new GantryError("forbidden", "Ingress network can only be global scope network");
  if (request.Scope === "swarm") {
    throw new GantryError("forbidden", "cannot create a swarm scoped network when swarm is not active");
  }
  if (request.Scope !== "" && request.Scope !== "local") {
    throw new GantryError("invalid", `invalid scope ${JSON.stringify(request.Scope.slice(0, 100))}: use local`);
  }
  if (request.Driver === "overlay") throw new GantryError("unavailable", NO_SWARM);
  if (request.Driver === "host" || request.Driver === "null") {
    throw new GantryError("forbidden", `only one instance of "${request.Driver}" network is allowed`);
  }
  if (!["", "bridge", "default", "macvlan", "ipvlan"].includes(request.Driver)) {
    throw new GantryError("not-found", `plugin ${JSON.stringify(request.Driver.slice(0, 100))} not found`);
  }
  if (records.some(({ name }) => name === Name)) {
    throw new GantryError("conflict", `network with name ${Name} already exists`);
  }
}

function lenderOf(request: NetworkCreateRequest, records: readonly NetworkRecord[]): NetworkRecord | undefined {
  const name = request.ConfigFrom?.Network ?? "";
  if (name === "") return undefined;
  if (request.ConfigOnly) {
    throw new GantryError("forbidden", "a configuration network cannot depend on another configuration network");
  }
  let found: NetworkRecord | undefined;
  try {
    found = resolveNetwork(records, name);
  } catch {
    // Told below, with what is no configuration.
  }
  if (found === undefined || !found.configOnly) {
    throw new GantryError("not-found", `configuration network ${JSON.stringify(name)} does not exist`);
  }
  const own =
    (request.IPAM?.Config ?? []).length > 0 ||
    Object.keys(request.IPAM?.Options ?? {}).length > 0 ||
    Object.keys(request.Options ?? {}).length > 0 ||
    Object.keys(request.Labels ?? {}).length > 0 ||
    request.Internal ||
    request.EnableIPv6 === true;
  if (own) {
    throw new GantryError(
      "forbidden",
      "user specified configurations are not supported if the network depends on a configuration network",
    );
  }
  return found;
}

function borrowed(request: NetworkCreateRequest, lender: NetworkRecord): NetworkCreateRequest {
  return {
    ...request,
    EnableIPv4: lender.enableIPv4,
    EnableIPv6: lender.enableIPv6,
    Internal: lender.internal,
    Attachable: request.Attachable || lender.attachable,
    IPAM: { Driver: lender.ipam.driver, Options: lender.ipam.options, Config: [...lender.ipam.config] },
    Options: lender.options,
    Labels: lender.labels,
  };
}

function checkBridge(record: NetworkRecord, { name }: BridgeOptions, records: readonly NetworkRecord[]): void {
  const other = records.find(({ bridge }) => name !== undefined && bridge?.interface === name);
  if (other === undefined) return;
  throw new GantryError(
    "forbidden",
    `network ${record.id} (${name}): conflicts with network ${other.id} (${other.bridge?.interface}): networks have same bridge name`,
  );
}

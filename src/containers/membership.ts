import type { EndpointSettings } from "../api/container.ts";
import { GantryError, isKind } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { NetworkSummary } from "../networks/network.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { refreshFiles } from "./network-files.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";
import type { ContainerTable, Entry } from "./table.ts";

export interface MembershipParts {
  readonly ports: ContainerPorts;
  readonly table: ContainerTable;
  readonly lifecycle: Lifecycle;
}

const HOST_CONFLICT = "container cannot be disconnected from host network or connected to host network";
const SHARED_CONFLICT =
  "container sharing network namespace with another container or host cannot be connected to any other network";
const NONE_CONFLICT =
  "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/** Joins a container to a network: at once if it runs, at its next start otherwise. */
export async function connectContainer(
  parts: MembershipParts,
  nameOrId: string,
  networkName: string,
  settings: Partial<EndpointSettings>,
): Promise<void> {
  const { ports, lifecycle } = parts;
  const entry = findContainer(parts.table, nameOrId);
  await lifecycle.exclusively(entry, async () => {
    const network = ports.networks.find(networkName);
    refuseConflict(entry.record, network);
    const wanted = wishesOf(settings);
    ports.networks.checkEndpoint(network.id, wanted);
    const { record } = entry;
    if (record.state.status !== "running") {
      await parts.table.updateSoon(entry, { endpoints: { ...record.endpoints, [network.name]: wanted } });
      return;
    }
    await ports.networks.connect(record.id, network.id, {
      containerName: record.name,
      hostname: record.config.Hostname,
      settings: wanted,
    });
    failpoint("containers.connect.joined");
    try {
      const endpoints = { ...record.endpoints, [network.name]: { ...wanted, NetworkID: network.id } };
      await recordNetworks(parts, entry, endpoints);
    } catch (error) {
      await ports.networks.disconnect(record.id, network.id);
      throw error;
    }
    failpoint("containers.connect.recorded");
    refreshFiles(ports, entry.record);
  });
}

/** Takes a container out of a network: at once if it runs, before its next start otherwise. */
export async function disconnectContainer(
  parts: MembershipParts,
  nameOrId: string,
  networkName: string,
  options: { readonly force: boolean },
): Promise<void> {
  const { ports, table, lifecycle } = parts;
  const network = ports.networks.find(networkName);
  let entry: Entry;
  try {
    entry = findContainer(table, nameOrId);
  } catch (error) {
    // Endpoints of containers that are gone are what Docker's force is for; there are none here.
    if (options.force && isKind(error, "not-found")) {
      throw new GantryError("not-found", `endpoint ${nameOrId} not found`);
    }
    throw error;
  }
  await lifecycle.exclusively(entry, async () => {
    const { record } = entry;
    if (record.hostConfig.NetworkMode === "host" && network.driver === "host") {
      throw new GantryError("invalid", HOST_CONFLICT);
    }
    const isRunning = record.state.status === "running";
    const isMember = isRunning
      ? Object.hasOwn(ports.networks.state(record.id).networks, network.name)
      : Object.hasOwn(record.endpoints, network.name);
    if (!isMember) {
      const where = isRunning ? "network" : "the network";
      throw new GantryError("forbidden", `container ${record.id} is not connected to ${where} ${network.name}`);
    }
    const { [network.name]: _left, ...endpoints } = record.endpoints;
    if (record.state.status !== "running") {
      await table.updateSoon(entry, { endpoints });
      return;
    }
    // The record first: what a crash leaves of the endpoint is taken down at boot, as nobody's.
    const { [network.name]: _was, ...networks } = record.state.networks;
    const recorded = table.updateSoon(entry, { endpoints, state: { ...record.state, networks } });
    failpoint("containers.disconnect.recorded");
    await ports.networks.disconnect(record.id, network.id);
    await recorded;
    refreshFiles(ports, entry.record);
  });
}

/** Its networks as the engine has them now, onto the disk. */
async function recordNetworks(
  { ports, table }: MembershipParts,
  entry: Entry,
  endpoints: ContainerRecord["endpoints"],
): Promise<void> {
  const { state } = entry.record;
  if (state.status !== "running") return;
  await table.updateSoon(entry, { endpoints, state: { ...state, ...ports.networks.state(entry.record.id) } });
}

function findContainer(table: ContainerTable, nameOrId: string): Entry {
  if (nameOrId === "") throw new GantryError("invalid", 'invalid name or ID supplied: ""');
  return table.find(nameOrId);
}

function refuseConflict({ hostConfig, endpoints }: ContainerRecord, network: NetworkSummary): void {
  const mode = hostConfig.NetworkMode;
  if (network.driver === "host") throw new GantryError("invalid", HOST_CONFLICT);
  if (mode === "host" || mode.startsWith("container:")) throw new GantryError("invalid", SHARED_CONFLICT);
  const isNone = (name: string) => name === "none";
  const names = Object.keys(endpoints);
  if (names.some(isNone) || (isNone(network.name) && names.length > 0)) {
    throw new GantryError("invalid", NONE_CONFLICT);
  }
}

/** Of what a client sent, the part that is a wish. */
function wishesOf(settings: Partial<EndpointSettings>): Partial<EndpointSettings> {
  const { IPAMConfig, Links, Aliases, MacAddress, DriverOpts, GwPriority } = settings;
  return {
    IPAMConfig: IPAMConfig ?? null,
    Links: Links ?? null,
    Aliases: Aliases ?? null,
    MacAddress: MacAddress ?? "",
    DriverOpts: DriverOpts ?? null,
    GwPriority: GwPriority ?? 0,
  };
}

import type { ContainerCreateRequest, EndpointSettings, HostConfig } from "../api/container.ts";
import { GantryError, isKind } from "../base/errors.ts";
import type { NetworkController, NetworkSummary } from "../networks/network.ts";

/**
 * Which networks a new container joins: those of the request, and the one that its network mode names, each by its own
 * name. A network that is not there yet stays as it was written: the start refuses it if it still isn't.
 */
export function endpointsOf(
  request: ContainerCreateRequest,
  hostConfig: HostConfig,
  networks: Pick<NetworkController, "find" | "checkEndpoint">,
): Record<string, Partial<EndpointSettings>> {
  const mode = hostConfig.NetworkMode;
  if (mode.startsWith("container:")) return {};
  const endpoints: Record<string, Partial<EndpointSettings>> = {};
  const add = (given: string, settings: Partial<EndpointSettings>) => {
    const network = findIfThere(networks, given);
    if (network !== undefined) networks.checkEndpoint(network.id, settings);
    endpoints[network?.name ?? given] = settings;
  };
  for (const [name, settings] of Object.entries(request.NetworkingConfig.EndpointsConfig)) add(name, settings ?? {});
  const main = findIfThere(networks, mode)?.name ?? mode;
  if (!Object.hasOwn(endpoints, main)) add(main, {});
  checkTogether(Object.keys(endpoints));
  return endpoints;
}

/** What the user should know who publishes ports where there is nothing to publish them on. */
export function warnOfUnpublished(
  { PortBindings }: HostConfig,
  endpoints: Readonly<Record<string, unknown>>,
  networks: Pick<NetworkController, "find">,
): string[] {
  if (Object.keys(PortBindings ?? {}).length === 0) return [];
  const reasons = Object.keys(endpoints).map((name) => whyUnpublished(findIfThere(networks, name)));
  if (reasons.length === 0 || reasons.includes(undefined)) return [];
  return [`Published ports are discarded: ${reasons.join("; ")}`];
}

/** Why a network publishes nothing; undefined if it does. */
function whyUnpublished(network: NetworkSummary | undefined): string | undefined {
  if (network === undefined) return undefined;
  const { name, driver, isInternal } = network;
  if (driver === "macvlan" || driver === "ipvlan")
    return `on ${name} (${driver}) the container has an address of its own`;
  return isInternal ? `${name} is internal, nothing gets into it` : undefined;
}

function findIfThere(networks: Pick<NetworkController, "find">, nameOrId: string): NetworkSummary | undefined {
  try {
    return networks.find(nameOrId);
  } catch (error) {
    if (isKind(error, "not-found")) return undefined;
    throw error;
  }
}

function checkTogether(names: readonly string[]): void {
  if (names.length < 2) return;
  if (names.includes("host")) {
    throw new GantryError(
      "invalid",
      "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  }
  if (names.includes("none")) {
    throw new GantryError(
      "invalid",
      "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
  }
}

import type { EndpointSettings } from "../../api/container.ts";
import { decodeJson } from "../../api/decode.ts";
import { checkFilters, type Filters, matchLabels, matchPruneLabels, untilFilter } from "../../api/filters.ts";
import type { NetworkInspect } from "../../api/network.ts";
import { networkConnectRequest, networkCreateRequest, networkDisconnectRequest } from "../../api/network-request.ts";
import { GantryError } from "../../base/errors.ts";
import type { ContainerController } from "../../containers/controller.ts";
import type { NetworkController } from "../../networks/network.ts";
import { empty, json } from "../answer.ts";
import type { Handlers } from "../route-request.ts";

type NetworkRoutes = Pick<Handlers, Extract<keyof Handlers, `network${string}`>>;

/** Which of the containers' side networks need: who joins and leaves them. */
type Members = Pick<ContainerController, "connectNetwork" | "disconnectNetwork">;

export function networkRoutes(networks: NetworkController, members: Members): NetworkRoutes {
  return {
    networkList: ({ query }) => {
      checkFilters(query.filters, ["dangling", "driver", "id", "label", "name", "scope", "type"]);
      // A list leaves the members out, as Docker's does.
      return json(
        networks
          .list()
          .filter((network) => matches(network, query.filters))
          .map((network) => ({ ...network, Containers: {} })),
      );
    },
    // `verbose` adds what swarm's services know of a network; there is nothing of it on one host.
    networkInspect: ({ params, query }) => {
      const network = networks.inspect(params.id!);
      if (query.scope && network.Scope !== query.scope) {
        throw new GantryError("not-found", `network ${params.id} not found`);
      }
      return json(network);
    },
    networkCreate: async (request) => {
      const { id, warning } = await networks.create(decodeJson(networkCreateRequest, await request.document()));
      return json({ Id: id, Warning: warning }, 201);
    },
    networkConnect: async (request) => {
      const { Container, EndpointConfig } = decodeJson(networkConnectRequest, await request.document());
      const settings: Partial<EndpointSettings> = EndpointConfig ?? {};
      await members.connectNetwork(Container, request.params.id!, settings);
      return empty(200);
    },
    networkDisconnect: async (request) => {
      const { Container, Force } = decodeJson(networkDisconnectRequest, await request.document());
      await members.disconnectNetwork(Container, request.params.id!, { force: Force });
      return empty(200);
    },
    networkPrune: async ({ query }) => {
      checkFilters(query.filters, ["label", "label!", "until"]);
      const until = untilFilter(query.filters, Date.now()) ?? Number.POSITIVE_INFINITY;
      const removed = await networks.prune(
        ({ Created, Labels }) => Date.parse(Created) <= until && matchPruneLabels(Labels, query.filters),
      );
      return json({ NetworksDeleted: removed.length === 0 ? null : removed });
    },
    networkRemove: async ({ params }) => {
      await networks.remove(params.id!);
      return empty();
    },
  };
}

const BUILT_IN = ["bridge", "host", "none"];

const tests: Readonly<Record<string, (network: NetworkInspect, value: string) => boolean>> = {
  name: (network, value) => network.Name.includes(value),
  id: (network, value) => network.Id.startsWith(value),
  driver: (network, value) => network.Driver === value,
  scope: (network, value) => network.Scope === value,
  type: (network, value) => (value === "builtin") === BUILT_IN.includes(network.Name),
  dangling: (network, value) => {
    const unused = !BUILT_IN.includes(network.Name) && Object.keys(network.Containers).length === 0;
    return unused === ["1", "true"].includes(value.toLowerCase());
  },
};

function matches(network: NetworkInspect, filters: Filters): boolean {
  if (!matchLabels(network.Labels, filters.label ?? [])) return false;
  for (const value of filters.type ?? []) {
    if (value !== "custom" && value !== "builtin")
      throw new GantryError("invalid", `invalid filter: 'type'='${value}'`);
  }
  checkDangling(filters.dangling ?? []);
  return Object.entries(filters).every(([key, values]) => {
    const test = tests[key];
    return test === undefined || values.length === 0 || values.some((value) => test(network, value));
  });
}

function checkDangling(values: readonly string[]): void {
  const wrong = values.length > 1 || values.some((value) => !["true", "1", "false", "0"].includes(value.toLowerCase()));
  if (!wrong) return;
  throw new GantryError("invalid", `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`);
}

import type { EndpointSettings } from "../../api/container.ts";
import { decodeJson } from "../../api/decode.ts";
import { checkFilters, type Filters, matchLabels, matchPruneLabels, textTest, untilFilter } from "../../api/filters.ts";
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
          .filter(networkFilter(query.filters))
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

type NetworkTest = (network: NetworkInspect) => boolean;

/** What a value of each filter asks of a network; `label` is apart, as all of its values must match. */
const TESTS: Readonly<Record<string, (value: string) => NetworkTest>> = {
  name: (value) => {
    const matches = textTest(value);
    return ({ Name }) => matches(Name);
  },
  id: (value) => {
    const matches = textTest(value);
    return ({ Id }) => matches(Id);
  },
  driver: (value) => (network) => network.Driver === value,
  scope: (value) => (network) => network.Scope === value,
  type: (value) => {
    if (value !== "custom" && value !== "builtin") {
      throw new GantryError("invalid", `invalid filter: 'type'='${value}'`);
    }
    return (network) => (value === "builtin") === BUILT_IN.includes(network.Name);
  },
  dangling: (value) => (network) => {
    const unused = !BUILT_IN.includes(network.Name) && Object.keys(network.Containers).length === 0;
    return unused === ["1", "true"].includes(value.toLowerCase());
  },
};

/** Turns a list's filters into one test; refuses values that none could have. */
function networkFilter(filters: Filters): NetworkTest {
  checkDangling(filters.dangling ?? []);
  const groups = Object.entries(TESTS).map(([key, of]) => (filters[key] ?? []).map(of));
  const asked = groups.filter(({ length }) => length > 0);
  return (network) =>
    matchLabels(network.Labels, filters.label ?? []) && asked.every((tests) => tests.some((test) => test(network)));
}

function checkDangling(values: readonly string[]): void {
  const wrong = values.length > 1 || values.some((value) => !["true", "1", "false", "0"].includes(value.toLowerCase()));
  if (!wrong) return;
  throw new GantryError("invalid", `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`);
}

import { checkFilters, type Filters, matchLabels } from "../../api/filters.ts";
import type { NetworkInspect } from "../../api/network.ts";
import { GantryError } from "../../base/errors.ts";
import type { NetworkController } from "../../networks/network.ts";
import { json } from "../answer.ts";
import type { Handlers } from "../route-request.ts";

type NetworkRoutes = Pick<Handlers, Extract<keyof Handlers, `network${string}`>>;

export function networkRoutes(networks: NetworkController): NetworkRoutes {
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
    networkInspect: ({ params, query }) => {
      const network = networks.inspect(params.id!);
      if (query.scope && network.Scope !== query.scope) {
        throw new GantryError("not-found", `network ${params.id} not found`);
      }
      return json(network);
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
    if (value !== "custom" && value !== "builtin") throw new GantryError("invalid", `invalid filter 'type=${value}'`);
  }
  return Object.entries(filters).every(([key, values]) => {
    const test = tests[key];
    return test === undefined || values.length === 0 || values.some((value) => test(network, value));
  });
}

import { GantryError } from "../base/errors.ts";
import { type EndpointAddress, type NetworkDriver, NO_ADDRESS } from "./driver.ts";

const nothing = {
  hostBinding: "",
  firewall: undefined,
  leave() {},
  async unplug() {},
  adopt() {},
  wayOut: () => undefined,
  prune() {},
  routeLoopback() {},
  async close() {},
} as const;

/** A sandbox with its loopback and nothing else. */
export const noneDriver: NetworkDriver = {
  ...nothing,
  join(_endpointId, sandbox): EndpointAddress {
    if (sandbox === undefined) throw new GantryError("internal", "cannot join the network none: no sandbox was made");
    return NO_ADDRESS;
  },
};

/** The host's own network: an endpoint is only an entry in the books. */
export const hostDriver: NetworkDriver = { ...nothing, join: (): EndpointAddress => NO_ADDRESS };

/** A network that nobody can join, and why. */
export function unjoinable(refuse: () => GantryError): NetworkDriver {
  return {
    ...nothing,
    join() {
      throw refuse();
    },
  };
}

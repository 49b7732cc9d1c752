import { GantryError } from "../base/errors.ts";
import { type EndpointAddress, type NetworkDriver, NO_ADDRESS } from "./driver.ts";

/** A sandbox with its loopback and nothing else. */
export const noneDriver: NetworkDriver = {
  publishes: false,
  join(_endpointId, sandbox): EndpointAddress {
    if (sandbox === undefined) throw new GantryError("internal", "cannot join the network none: no sandbox was made");
    return NO_ADDRESS;
  },
  leave() {},
  adopt() {},
  prune() {},
  close() {},
};

import { type EndpointAddress, type NetworkDriver, NO_ADDRESS } from "./driver.ts";

/** The host's own network: an endpoint is only an entry in the books. */
export const hostDriver: NetworkDriver = {
  publishes: false,
  join: (): EndpointAddress => NO_ADDRESS,
  leave() {},
  adopt() {},
  prune() {},
  close() {},
};

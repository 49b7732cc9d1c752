import { GantryError, hasCode } from "../base/errors.ts";
import type { EndpointAddress, EndpointWish, NetworkDriver } from "./driver.ts";
import { type InsideSetup, nextInterface, withNetnsFd } from "./sandbox.ts";

const LINK_LOCAL_PREFIX = { 4: 16, 6: 64 } as const;

/** Addresses and default routes of an endpoint's interface inside. */
export function insideOf(
  driver: Pick<NetworkDriver, "wayOut">,
  endpointId: string,
  address: EndpointAddress,
  { settings, isDefault }: EndpointWish,
): Pick<InsideSetup, "addresses" | "routes" | "ipv6"> {
  const own = [
    { address: address.ipv4Address, prefix: address.prefix },
    { address: address.ipv6Address, prefix: address.ipv6Prefix },
  ].filter((row) => row.address !== "");
  const linkLocal = (settings.IPAMConfig?.LinkLocalIPs ?? []).map((text) => ({
    address: text,
    prefix: LINK_LOCAL_PREFIX[text.includes(":") ? 6 : 4],
  }));
  const families = [...(isDefault.ipv4 ? [4 as const] : []), ...(isDefault.ipv6 ? [6 as const] : [])];
  return {
    addresses: [...own, ...linkLocal],
    routes: families.flatMap((family) => {
      const way = driver.wayOut(endpointId, address, family);
      if (way === undefined) return [];
      return { destination: "default", ...("gateway" in way ? way : { family }) };
    }),
    ipv6: [...own, ...linkLocal].some((row) => row.address.includes(":")),
  };
}

/**
 * Has a link born in the sandbox: by the name that the user chose, else eth0 but for a sandbox that is on a network
 * already. Returns its name.
 */
export function bornInside(
  sandbox: string,
  chosen: string | undefined,
  prefix: string,
  create: (name: string, netnsFd: number) => void,
): string {
  return withNetnsFd(sandbox, (fd) => {
    let name = chosen ?? `${prefix}0`;
    try {
      create(name, fd);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      if (chosen !== undefined) {
        throw new GantryError("conflict", `the container has an interface ${chosen} already: choose another name`);
      }
      name = nextInterface(sandbox, prefix);
      create(name, fd);
    }
    return name;
  });
}

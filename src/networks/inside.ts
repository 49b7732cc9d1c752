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

/** What an interface inside is to be called. */
export interface InsideName {
  /** The user's choice. */
  readonly chosen: string | undefined;
  /** Else this with a number: the lowest that is free, `likely` if nothing speaks against it. */
  readonly prefix: string;
  readonly likely: number;
}

/** Has a link born in the sandbox. Returns its name. */
export function bornInside(
  sandbox: string,
  { chosen, prefix, likely }: InsideName,
  create: (name: string, netnsFd: number) => void,
): string {
  return withNetnsFd(sandbox, (fd) => {
    let name = chosen ?? `${prefix}${likely}`;
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

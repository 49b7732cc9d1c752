import { GantryError } from "../base/errors.ts";
import {
  type Address,
  contains,
  containsSubnet,
  type Family,
  formatAddress,
  formatSubnet,
  lastOf,
  parseAddress,
  parseSubnet,
  type Subnet,
} from "./subnet.ts";

/** What the engine's configuration says of the default bridge's addresses; "" or missing for nothing. */
export interface DefaultAddressSettings {
  /** `--bip`: the bridge's own address in CIDR. */
  readonly bip?: string;
  /** `--fixed-cidr`: where containers' addresses are taken from. */
  readonly fixedCidr?: string;
  /** `--default-gateway`: containers' way out, where it is not the bridge. */
  readonly defaultGateway?: string;
  /** `--ipv6`: containers have IPv6 too. */
  readonly ipv6?: boolean;
  readonly bip6?: string;
  readonly fixedCidr6?: string;
  readonly defaultGateway6?: string;
}

/** What that comes to for one family. */
export interface AddressWish {
  readonly family: Family;
  /** The bridge's own address with its subnet; one of the engine's choice if it is missing. */
  readonly own?: { readonly subnet: Subnet; readonly gateway: string };
  readonly range?: Subnet;
  readonly router?: string;
}

const FLAGS = {
  4: { own: "--bip", range: "--fixed-cidr", router: "--default-gateway", longest: 30 },
  6: { own: "--bip6", range: "--fixed-cidr-v6", router: "--default-gateway-v6", longest: 126 },
} as const;

/** Throws invalid for what is no address or goes not together. Without `ipv6` there is none. */
export function readAddressWishes(settings: DefaultAddressSettings): {
  readonly ipv4: AddressWish;
  readonly ipv6: AddressWish | undefined;
} {
  const { bip, fixedCidr, defaultGateway, ipv6 = false, bip6, fixedCidr6, defaultGateway6 } = settings;
  const ipv4 = readWish(4, bip, fixedCidr, defaultGateway);
  if (ipv6) return { ipv4, ipv6: readWish(6, bip6, fixedCidr6, defaultGateway6) };
  const given = { own: bip6, range: fixedCidr6, router: defaultGateway6 };
  for (const name of ["own", "range", "router"] as const) {
    if (given[name]) throw invalid(FLAGS[6][name], given[name], "the default network has no IPv6 without --ipv6");
  }
  return { ipv4, ipv6: undefined };
}

/** Why containers can't go out through the wish's router from this subnet; undefined if they can. */
export function routerComplaint({ family, router }: AddressWish, subnet: Subnet): GantryError | undefined {
  if (router === undefined) return undefined;
  const address = parseAddress(router);
  const { own, range, router: flag } = FLAGS[family];
  if (!contains(subnet, address)) {
    const why = `it does not lie in ${formatSubnet(subnet)}, the default network's subnet: give another by ${own} or ${range}`;
    return invalid(flag, router, why);
  }
  return isHost(address, subnet)
    ? undefined
    : invalid(flag, router, `not an address of a host in ${formatSubnet(subnet)}`);
}

function readWish(family: Family, bip = "", fixedCidr = "", defaultGateway = ""): AddressWish {
  const flags = FLAGS[family];
  const own = bip === "" ? undefined : readOwn(family, bip);
  const range = fixedCidr === "" ? undefined : readOf(family, flags.range, fixedCidr, parseSubnet);
  if (range !== undefined && own !== undefined && !containsSubnet(own.subnet, range)) {
    throw invalid(flags.range, fixedCidr, `it does not lie in ${formatSubnet(own.subnet)}, the subnet of ${flags.own}`);
  }
  if (range !== undefined && own === undefined && range.prefix > flags.longest) {
    throw invalid(flags.range, fixedCidr, `too small for a network of its own: give a larger one by ${flags.own}`);
  }
  const given =
    defaultGateway === "" ? undefined : formatAddress(readOf(family, flags.router, defaultGateway, parseAddress));
  const router = given === own?.gateway ? undefined : given;
  const wish = { family, own, range, router };
  const complaint = own === undefined ? undefined : routerComplaint(wish, own.subnet);
  if (complaint !== undefined) throw complaint;
  return wish;
}

function readOwn(family: Family, bip: string): { subnet: Subnet; gateway: string } {
  const { own: flag, longest } = FLAGS[family];
  const subnet = readOf(family, flag, bip, parseSubnet);
  const address = parseAddress(bip.split("/")[0] ?? "");
  if (subnet.prefix > longest || !isHost(address, subnet)) {
    throw invalid(flag, bip, `not an address of a host in ${formatSubnet(subnet)}`);
  }
  return { subnet, gateway: formatAddress(address) };
}

function readOf<T extends { readonly family: Family }>(
  family: Family,
  flag: string,
  text: string,
  read: (text: string) => T,
): T {
  let value: T;
  try {
    value = read(text);
  } catch (error) {
    throw invalid(flag, text, (error as Error).message);
  }
  if (value.family !== family) throw invalid(flag, text, `it is not of IPv${family}`);
  return value;
}

function isHost({ value }: Address, subnet: Subnet): boolean {
  return value !== subnet.base && (subnet.family === 6 || value !== lastOf(subnet));
}

function invalid(flag: string, text: string, why: string): GantryError {
  return new GantryError("invalid", `invalid ${flag} ${text.slice(0, 100)}: ${why}`);
}

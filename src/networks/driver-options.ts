import { GantryError } from "../base/errors.ts";

export type Options = Readonly<Record<string, string>>;

const INSIDE = "com.docker.network.container_iface_prefix";
const MTU = "com.docker.network.driver.mtu";
/** What every driver with links knows. */
export const LINK_OPTIONS = [MTU, INSIDE] as const;
/** Compose's own marks, which some of its versions put beside the options. */
const MARKS = /^com\.docker\.compose\./;

export function optionOf(options: Options, key: string): string | undefined {
  return Object.hasOwn(options, key) ? options[key] : undefined;
}

/** Docker ignores what it does not know, so that a mistake in writing shows when it is too late. */
export function refuseUnknown(whose: string, options: Options, known: readonly string[]): void {
  const unknown = Object.keys(options).find((key) => !known.includes(key) && !MARKS.test(key));
  if (unknown === undefined) return;
  const what = known.length === 0 ? "it has none" : `it has ${known.join(", ")}`;
  throw new GantryError("invalid", `unknown option ${JSON.stringify(unknown.slice(0, 100))} of ${whose}: ${what}`);
}

/** 0 for the engine's default. */
export function readMtu(options: Options): number {
  const text = optionOf(options, MTU);
  if (text === undefined || text === "") return 0;
  if (!/^[+-]?\d{1,9}$/.test(text)) {
    const why = `strconv.Atoi: parsing ${JSON.stringify(text.slice(0, 100))}: invalid syntax`;
    throw new GantryError("invalid", `failed to parse ${MTU} value: ${text.slice(0, 100)} (${why})`);
  }
  const mtu = Number(text);
  // The least that IPv4 works with, and the most that the kernel gives a veth.
  if (mtu !== 0 && (mtu < 68 || mtu > 65_535)) throw new GantryError("invalid", `invalid MTU number: ${mtu}`);
  return mtu;
}

/** Below it the kernel has no IPv6 on a link (RFC 8200, 5). */
export const LEAST_IPV6_MTU = 1280;

export function refuseMtuBelowIPv6(options: Options): void {
  const mtu = readMtu(options);
  if (mtu === 0 || mtu >= LEAST_IPV6_MTU) return;
  throw new GantryError("invalid", `invalid MTU number: ${mtu}: IPv6 needs ${LEAST_IPV6_MTU} at least`);
}

/** What interfaces inside are called, with a number at the end. */
export function readInsidePrefix(options: Options): string {
  const prefix = optionOf(options, INSIDE) || "eth";
  if (!/^[A-Za-z0-9_.-]{1,12}$/.test(prefix)) {
    throw new GantryError("invalid", `invalid ${INSIDE} value: ${prefix.slice(0, 100)}`);
  }
  return prefix;
}

export function readFlag(options: Options, key: string, initial: boolean): boolean {
  const text = optionOf(options, key);
  if (text === undefined) return initial;
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(0|f|F|FALSE|false|False)$/.test(text)) return false;
  const why = `strconv.ParseBool: parsing ${JSON.stringify(text.slice(0, 100))}: invalid syntax`;
  throw new GantryError("invalid", `failed to parse ${key} value: ${text.slice(0, 100)} (${why})`);
}

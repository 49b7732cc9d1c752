import { GantryError } from "../base/errors.ts";
import { familyOf } from "./subnet.ts";

/** What a bridge network's driver options come to. */
export interface BridgeOptions {
  /** The interface's name; undefined for one of the engine's choice. */
  readonly name: string | undefined;
  /** 0 for the engine's default. */
  readonly mtu: number;
  /** Containers of the network reach each other. */
  readonly neighbours: boolean;
  readonly masquerade: boolean;
  /** Where ports are published that name no address of the host. */
  readonly hostBinding: string;
  /** What interfaces inside are called, with a number at the end. */
  readonly insidePrefix: string;
  /** The bridge has no IPv4 address of its own. */
  readonly inhibitIPv4: boolean;
}

const BRIDGE = "com.docker.network.bridge.";
const MTU = "com.docker.network.driver.mtu";
const INSIDE = "com.docker.network.container_iface_prefix";
/** The kernel takes up to 15 bytes, and more characters than the packet filter's language has names for. */
const LINK_NAME = /^[A-Za-z0-9_.-]{1,15}$/;

/** Reads the options as Docker does: those it does not know are kept and mean nothing. Throws invalid. */
export function readBridgeOptions(options: Readonly<Record<string, string>>): BridgeOptions {
  const get = (key: string): string | undefined => (Object.hasOwn(options, key) ? options[key] : undefined);
  const name = get(`${BRIDGE}name`) || undefined;
  if (name !== undefined && (!LINK_NAME.test(name) || name === "." || name === "..")) {
    throw new GantryError("invalid", `invalid bridge name ${JSON.stringify(name.slice(0, 100))}: not a link's name`);
  }
  const hostBinding = get(`${BRIDGE}host_binding_ipv4`);
  if (hostBinding !== undefined && familyOf(hostBinding) !== 4) {
    throw new GantryError("invalid", `failed to parse ${BRIDGE}host_binding_ipv4 value: ${hostBinding} (nil ip)`);
  }
  const insidePrefix = get(INSIDE) || "eth";
  if (!/^[A-Za-z0-9_.-]{1,12}$/.test(insidePrefix)) {
    throw new GantryError("invalid", `invalid ${INSIDE} value: ${insidePrefix.slice(0, 100)}`);
  }
  for (const family of ["ipv4", "ipv6"]) {
    const key = `${BRIDGE}gateway_mode_${family}`;
    const mode = get(key);
    if (mode !== undefined && mode !== "nat") {
      throw new GantryError("unsupported", `${key}=${mode.slice(0, 100)} is not supported: leave it out, or use nat`);
    }
  }
  return {
    name,
    mtu: readMtu(get(MTU)),
    neighbours: readFlag(`${BRIDGE}enable_icc`, get(`${BRIDGE}enable_icc`), true),
    masquerade: readFlag(`${BRIDGE}enable_ip_masquerade`, get(`${BRIDGE}enable_ip_masquerade`), true),
    hostBinding: hostBinding ?? "",
    insidePrefix,
    inhibitIPv4: readFlag(`${BRIDGE}inhibit_ipv4`, get(`${BRIDGE}inhibit_ipv4`), false),
  };
}

function readMtu(text: string | undefined): number {
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

function readFlag(key: string, text: string | undefined, initial: boolean): boolean {
  if (text === undefined) return initial;
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(0|f|F|FALSE|false|False)$/.test(text)) return false;
  const why = `strconv.ParseBool: parsing ${JSON.stringify(text.slice(0, 100))}: invalid syntax`;
  throw new GantryError("invalid", `failed to parse ${key} value: ${text.slice(0, 100)} (${why})`);
}

import { GantryError } from "../base/errors.ts";
import {
  LINK_OPTIONS,
  type Options,
  optionOf,
  readFlag,
  readInsidePrefix,
  readMtu,
  refuseUnknown,
} from "./driver-options.ts";
import type { GatewayMode } from "./filter-rules.ts";
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
  readonly gatewayMode4: GatewayMode;
  readonly gatewayMode6: GatewayMode;
  /** Links of the host by which what is published may be called at the containers' own addresses. */
  readonly trustedInterfaces: readonly string[];
}

const BRIDGE = "com.docker.network.bridge.";
const KEY = {
  name: `${BRIDGE}name`,
  neighbours: `${BRIDGE}enable_icc`,
  masquerade: `${BRIDGE}enable_ip_masquerade`,
  hostBinding: `${BRIDGE}host_binding_ipv4`,
  inhibitIPv4: `${BRIDGE}inhibit_ipv4`,
  gatewayMode4: `${BRIDGE}gateway_mode_ipv4`,
  gatewayMode6: `${BRIDGE}gateway_mode_ipv6`,
  trusted: `${BRIDGE}trusted_host_interfaces`,
} as const;
/** minikube gives them to every network, with no value and no meaning. */
const WITHOUT_MEANING = ["--icc", "--ip-masq"];
const MODES: ReadonlySet<string> = new Set<GatewayMode>(["nat", "nat-unprotected", "routed", "isolated"]);
const MOST_TRUSTED = 256;
/** The kernel takes up to 15 bytes, and more characters than the packet filter's language has names for. */
const LINK_NAME = /^[A-Za-z0-9_.-]{1,15}$/;

/** Of a network that is to be made. Throws invalid. */
export function refuseUnknownOfBridge(options: Options): void {
  const given = Object.entries(options).filter(([key, value]) => value !== "" || !WITHOUT_MEANING.includes(key));
  refuseUnknown("the bridge driver", Object.fromEntries(given), [...Object.values(KEY), ...LINK_OPTIONS]);
}

/** Throws invalid for what makes no sense. */
export function readBridgeOptions(options: Options, internal: boolean): BridgeOptions {
  const name = optionOf(options, KEY.name) || undefined;
  if (name !== undefined && !isLinkName(name)) {
    throw new GantryError("invalid", `invalid bridge name ${JSON.stringify(name.slice(0, 100))}: not a link's name`);
  }
  const hostBinding = optionOf(options, KEY.hostBinding);
  if (hostBinding !== undefined && familyOf(hostBinding) !== 4) {
    throw new GantryError("invalid", `failed to parse ${KEY.hostBinding} value: ${hostBinding} (nil ip)`);
  }
  return {
    name,
    mtu: readMtu(options),
    neighbours: readFlag(options, KEY.neighbours, true),
    masquerade: readFlag(options, KEY.masquerade, true),
    hostBinding: hostBinding ?? "",
    insidePrefix: readInsidePrefix(options),
    inhibitIPv4: readFlag(options, KEY.inhibitIPv4, false),
    gatewayMode4: readMode(options, KEY.gatewayMode4, internal),
    gatewayMode6: readMode(options, KEY.gatewayMode6, internal),
    trustedInterfaces: readTrusted(options),
  };
}

/** The kernel's settings have two names that no link can have. */
export function isLinkName(text: string): boolean {
  return LINK_NAME.test(text) && ![".", "..", "all", "default"].includes(text);
}

function readMode(options: Options, key: string, internal: boolean): GatewayMode {
  const text = optionOf(options, key) || "nat";
  if (!MODES.has(text)) {
    throw new GantryError("invalid", `unknown gateway mode ${text.slice(0, 100)}: ${key} is ${[...MODES].join(", ")}`);
  }
  if (text === "isolated" && !internal) {
    throw new GantryError("invalid", "gateway mode 'isolated' can only be used for an internal network");
  }
  return text as GatewayMode;
}

/** Docker's own form: names with colons between them. */
function readTrusted(options: Options): string[] {
  const text = optionOf(options, KEY.trusted) ?? "";
  const names = text === "" ? [] : text.split(":");
  if (names.length > MOST_TRUSTED) {
    throw new GantryError("invalid", `invalid ${KEY.trusted} value: it names more than ${MOST_TRUSTED} links`);
  }
  const wrong = names.find((name) => !isLinkName(name));
  if (wrong === undefined) return [...new Set(names)];
  throw new GantryError("invalid", `invalid ${KEY.trusted} value: ${JSON.stringify(wrong.slice(0, 100))}`);
}

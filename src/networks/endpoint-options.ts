import type { EndpointSettings } from "../api/container.ts";
import { GantryError } from "../base/errors.ts";
import { isLinkName } from "./bridge-options.ts";
import { type Options, optionOf, refuseUnknown } from "./driver-options.ts";

/** What an endpoint's driver options come to. */
export interface EndpointOptions {
  /** The interface's name inside; undefined for the network's prefix and a number. */
  readonly ifname: string | undefined;
  readonly sysctls: readonly InterfaceSysctl[];
}

/** A setting of the kernel for one interface. */
export interface InterfaceSysctl {
  /** As the user wrote it. */
  readonly text: string;
  readonly value: string;
  /** Its path below /proc/sys. */
  pathOf(ifname: string): string;
}

const IFNAME = "com.docker.network.endpoint.ifname";
const SYSCTLS = "com.docker.network.endpoint.sysctls";
const MOST_SETTINGS = 128;
/** Clients may write all of an option in small letters. */
const SETTING = /^net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.IFNAME\.([a-z0-9_]{1,64})=([A-Za-z0-9 ._:,-]{1,128})$/i;
const MPLS = /^net\.mpls\.conf\.IFNAME\.(input)=([01])$/i;

/** Throws invalid. */
export function readEndpointOptions(options: Options | null | undefined): EndpointOptions {
  const given = options ?? {};
  refuseUnknown("an endpoint", given, [IFNAME, SYSCTLS]);
  const ifname = optionOf(given, IFNAME) || undefined;
  if (ifname !== undefined && (!isLinkName(ifname) || ifname === "lo")) {
    throw new GantryError("invalid", `invalid interface name ${JSON.stringify(ifname.slice(0, 100))} in ${IFNAME}`);
  }
  const settings = optionOf(given, SYSCTLS) ?? "";
  const texts = settings === "" ? [] : settings.split(",");
  if (texts.length > MOST_SETTINGS) {
    throw new GantryError("invalid", `too many settings in ${SYSCTLS}: an endpoint has ${MOST_SETTINGS} at most`);
  }
  return { ifname, sysctls: texts.map(readSysctl) };
}

/** The user chose its interface's name. */
export function isNamed({ DriverOpts }: Partial<EndpointSettings>): boolean {
  return Boolean(optionOf(DriverOpts ?? {}, IFNAME));
}

function readSysctl(text: string): InterfaceSysctl {
  const found = SETTING.exec(text.trim());
  const [, protocol = "", table = "", name = "", value = ""] = found ?? [];
  if (found === null || (protocol.toLowerCase() === "mpls" && !MPLS.test(text.trim()))) {
    throw new GantryError(
      "invalid",
      `invalid setting ${JSON.stringify(text.slice(0, 100))} in ${SYSCTLS}: write net.ipv4.conf.IFNAME.log_martians=1, with IFNAME for the interface`,
    );
  }
  const folder = `net/${protocol.toLowerCase()}/${table.toLowerCase()}`;
  return { text: text.trim(), value, pathOf: (ifname) => `${folder}/${ifname}/${name.toLowerCase()}` };
}

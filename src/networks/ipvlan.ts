import { GantryError } from "../base/errors.ts";
import type { IpvlanKind } from "../kernel/netlink.ts";
import { LINK_OPTIONS, type Options, optionOf, refuseUnknown } from "./driver-options.ts";

const MODE = "ipvlan_mode";
const FLAG = "ipvlan_flag";
const MODES: ReadonlySet<string> = new Set<IpvlanKind["mode"]>(["l2", "l3", "l3s"]);
const FLAGS: ReadonlySet<string> = new Set<IpvlanKind["flag"]>(["bridge", "private", "vepa"]);

/** Throws invalid. */
export function readIpvlan(options: Options): IpvlanKind {
  const mode = optionOf(options, MODE) || "l2";
  const flag = optionOf(options, FLAG) || "bridge";
  if (!MODES.has(mode)) {
    const why = `requested ipvlan mode '${mode.slice(0, 100)}' is not valid, 'l2' mode is the ipvlan driver default`;
    throw new GantryError("invalid", why);
  }
  if (!FLAGS.has(flag)) {
    const why = `requested ipvlan flag '${flag.slice(0, 100)}' is not valid, 'bridge' is the ipvlan driver default flag`;
    throw new GantryError("invalid", why);
  }
  return { kind: "ipvlan", mode: mode as IpvlanKind["mode"], flag: flag as IpvlanKind["flag"] };
}

export function refuseUnknownOfIpvlan(options: Options): void {
  refuseUnknown("the ipvlan driver", options, ["parent", MODE, FLAG, ...LINK_OPTIONS]);
}

import { GantryError } from "../base/errors.ts";
import type { MacvlanKind } from "../kernel/netlink.ts";
import { LINK_OPTIONS, type Options, optionOf, refuseUnknown } from "./driver-options.ts";

const MODE = "macvlan_mode";
const MODES: ReadonlySet<string> = new Set<MacvlanKind["mode"]>(["bridge", "private", "vepa", "passthru"]);

/** Throws invalid. */
export function readMacvlan(options: Options): MacvlanKind {
  const mode = optionOf(options, MODE) || "bridge";
  if (MODES.has(mode)) return { kind: "macvlan", mode: mode as MacvlanKind["mode"] };
  const why = `requested macvlan mode '${mode.slice(0, 100)}' is not valid, 'bridge' mode is the macvlan driver default`;
  throw new GantryError("invalid", why);
}

export function refuseUnknownOfMacvlan(options: Options): void {
  refuseUnknown("the macvlan driver", options, ["parent", MODE, ...LINK_OPTIONS]);
}

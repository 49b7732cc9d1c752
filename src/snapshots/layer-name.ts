import { GantryError } from "../base/errors.ts";

const WHITEOUT = ".wh.";
const META = ".wh..wh.";
const OPAQUE = ".wh..wh..opq";

/** Where in the layer something is: the folder's path ("" is the root) and the name in it ("" is the root itself). */
export interface LayerName {
  readonly folder: string;
  readonly base: string;
}

/** What an entry's name asks for (image-spec, layer.md "Whiteouts"). */
export type Meaning =
  | { readonly is: "entry"; readonly at: LayerName }
  | { readonly is: "whiteout"; readonly at: LayerName }
  | { readonly is: "opaque"; readonly folder: string }
  | { readonly is: "ignored" };

/** Takes a hostile name apart. Absolute names count from the layer's root; a ".." in one is refused. */
export function layerName(name: string, entry = name): LayerName {
  if (name.includes("\0")) throw badEntry(entry, "its name contains NUL");
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw badEntry(entry, "it is outside of the layer");
  const base = parts.pop() ?? "";
  return { folder: parts.join("/"), base };
}

export function meaningOf(name: string): Meaning {
  const at = layerName(name);
  if (!at.base.startsWith(WHITEOUT)) return { is: "entry", at };
  if (at.base === OPAQUE) return { is: "opaque", folder: at.folder };
  // What aufs kept for itself, and old layers still carry.
  if (at.base.startsWith(META)) return { is: "ignored" };
  const hidden = at.base.slice(WHITEOUT.length);
  if (hidden === "" || hidden === "." || hidden === "..") throw badEntry(name, "it whites out no name");
  return { is: "whiteout", at: { folder: at.folder, base: hidden } };
}

export function badEntry(name: string, why: string, cause?: unknown): GantryError {
  return new GantryError("invalid", `invalid tar header: ${JSON.stringify(name)}: ${why}`, { cause });
}

export const whiteoutName = (base: string): string => `${WHITEOUT}${base}`;
export const OPAQUE_NAME = OPAQUE;
/** How overlayfs marks a folder that shows nothing of those below it. */
export const OPAQUE_XATTR = "trusted.overlay.opaque";

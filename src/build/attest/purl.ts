import type { Platform } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { familiarName, parseNormalized, tagNameOnly } from "../../oci/reference.ts";

export interface PackageUrl {
  readonly type: string;
  /** Parts are between slashes. */
  readonly namespace?: string;
  readonly name: string;
  readonly version?: string;
  readonly qualifiers?: Readonly<Record<string, string | undefined>>;
}

/** A package URL in its normal form (purl-spec). */
export function formatPurl({ type, namespace = "", name, version = "", qualifiers = {} }: PackageUrl): string {
  const path = [...namespace.split("/").filter((part) => part !== ""), name].map(encode).join("/");
  const rows = Object.entries(qualifiers)
    .flatMap(([key, value]) => (value === undefined || value === "" ? [] : [`${key}=${encode(value)}`]))
    .sort();
  const query = rows.length === 0 ? "" : `?${rows.join("&")}`;
  return `pkg:${type}/${path}${version === "" ? "" : `@${encode(version)}`}${query}`;
}

/** An image by its reference: `pkg:docker/busybox@latest?platform=linux%2Famd64`. */
export function imagePurl(
  reference: string,
  platform: Platform | undefined,
  type: "docker" | "oci" = "docker",
): string {
  const named = tagNameOnly(parseNormalized(reference));
  const whole = familiarName(named);
  const at = whole.lastIndexOf("/");
  return formatPurl({
    type,
    namespace: at < 0 ? "" : whole.slice(0, at),
    name: whole.slice(at + 1),
    ...(named.tag !== undefined && { version: named.tag }),
    qualifiers: { digest: named.digest, platform: platform === undefined ? undefined : formatPlatform(platform) },
  });
}

function encode(text: string): string {
  // A lone surrogate of a hostile name is no text that can be encoded.
  return encodeURIComponent(text.toWellFormed())
    .replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%3A", ":");
}

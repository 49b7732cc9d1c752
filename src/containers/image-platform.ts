import { GantryError } from "../base/errors.ts";
import type { ResolvedImage } from "../images/image.ts";
import { isFor, otherPlatform } from "../images/platform.ts";
import type { Platform } from "../oci/image.ts";
import { machinePlatform } from "../oci/machine-platform.ts";
import { formatPlatform, parsePlatform } from "../oci/platform.ts";

/** The platform that a container was asked for; undefined for any. */
export function platformAsked(asked: string | undefined): Platform | undefined {
  return asked === undefined || asked === "" ? undefined : parsePlatform(asked);
}

/**
 * Whether a container may be made of an image: one for another platform than the one that was asked for is refused as
 * if it were missing, so that clients pull the right one; one that this machine may not run brings a warning.
 */
export function checkPlatform(asked: string | undefined, image: ResolvedImage): string[] {
  const { config } = image;
  const wanted = platformAsked(asked);
  if (wanted !== undefined) {
    if (isFor(config, wanted)) return [];
    throw new GantryError("not-found", otherPlatform(config, image.name, wanted));
  }
  if (config.architecture === "" || isFor(config, machinePlatform())) return [];
  return [
    `The requested image's platform (${formatPlatform(config)}) does not match the detected host platform ` +
      `(${formatPlatform(machinePlatform())}) and no specific platform was requested`,
  ];
}

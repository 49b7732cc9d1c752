import { GantryError } from "../base/errors.ts";
import type { Platform } from "../oci/image.ts";
import { formatPlatform, suitablePlatforms } from "../oci/platform.ts";
import type { ImageRecord } from "./record.ts";

/** True for what runs where the wanted platform does. */
export function isFor(platform: Platform, wanted: Platform): boolean {
  return suitablePlatforms(wanted).includes(formatPlatform(platform));
}

/** Throws `not-found` in Docker's words for an image of another platform. */
export function requirePlatform(image: ImageRecord, name: string, wanted: Platform): void {
  if (!isFor(image.config, wanted)) throw new GantryError("not-found", otherPlatform(image.config, name, wanted));
}

/** Docker's sentence on an image that is for another platform than the wanted one. */
export function otherPlatform(platform: Platform, name: string, wanted: Platform): string {
  return `image with reference ${name} was found but its platform (${formatPlatform(platform)}) does not match the specified platform (${formatPlatform(wanted)})`;
}

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
  if (isFor(image.config, wanted)) return;
  throw new GantryError(
    "not-found",
    `image with reference ${name} was found but its platform (${formatPlatform(image.config)}) does not match the specified platform (${formatPlatform(wanted)})`,
  );
}

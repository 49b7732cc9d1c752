import { GantryError } from "../base/errors.ts";
import { isDigest } from "../oci/digest-format.ts";
import type { Platform } from "../oci/image.ts";
import { choosePlatform, formatPlatform } from "../oci/platform.ts";
import { familiarString, isIdentifier, parseNormalized, tagNameOnly } from "../oci/reference.ts";
import { type IndexRecord, imagesOf } from "./index-record.ts";
import { requirePlatform } from "./platform.ts";
import type { ImageRecord, ImageRecords } from "./record.ts";

/** What a name, an id or a digest means. */
export interface Target {
  /** The image that this machine runs of it. */
  readonly image: ImageRecord;
  /** Where it means an index: that. */
  readonly index: IndexRecord | undefined;
  /** By what it was found: also by the beginning of an id, or of an index's digest. */
  readonly by: "name" | "id" | "index";
}

/**
 * Finds what a name, an id, an index's digest, or a unique prefix of either means, in Docker's order: a name wins over
 * a prefix. Throws `not-found` with "No such image: …", and `invalid` for what is neither.
 */
export function findTarget(records: ImageRecords, nameOrId: string): Target {
  const id = fullId(nameOrId);
  if (id !== undefined) return byId(records, id) ?? refuse(nameOrId);
  const reference = tagNameOnly(parseNormalized(nameOrId));
  const image = records.named(reference);
  if (image !== undefined) return { image, index: records.indexNamed(reference), by: "name" };
  return byPrefix(records, nameOrId) ?? refuse(familiarString(reference));
}

/** The image that this machine runs of what `findTarget` finds. */
export function findImage(records: ImageRecords, nameOrId: string): ImageRecord {
  return findTarget(records, nameOrId).image;
}

/** The image of a target for a platform. Throws `not-found` in Docker's words where it is not here. */
export function imageFor(records: ImageRecords, { image, index }: Target, name: string, wanted: Platform): ImageRecord {
  if (index === undefined) {
    requirePlatform(image, name, wanted);
    return image;
  }
  const found = suitableImage(records, index, wanted);
  if (found !== undefined) return found;
  throw new GantryError(
    "not-found",
    `image with reference ${name} was found but does not provide the specified platform (${formatPlatform(wanted)})`,
  );
}

/** Of the images that are here of an index the one that suits a platform best. */
export function suitableImage(records: ImageRecords, index: IndexRecord, wanted: Platform): ImageRecord | undefined {
  const images = imagesOf(index).flatMap((id) => records.get(id) ?? []);
  return choosePlatform(images, wanted, ({ config }) => config);
}

/** True if the text is an id of this image, or the beginning of one. */
function isIdOf(id: string, text: string): boolean {
  return text !== "" && (id.startsWith(text) || id.slice("sha256:".length).startsWith(text));
}

/** The 12 digits of an id that people see. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

function fullId(text: string): string | undefined {
  if (isIdentifier(text)) return `sha256:${text}`;
  return isDigest(text) ? text : undefined;
}

function byId(records: ImageRecords, id: string): Target | undefined {
  const image = records.get(id);
  if (image !== undefined) return { image, index: records.indexOf(id), by: "id" };
  const index = records.indexes.get(id);
  const own = index === undefined ? undefined : records.get(index.image);
  return own === undefined ? byManifest(records, id) : { image: own, index, by: "index" };
}

/** What newer builders name an image by. */
function byManifest(records: ImageRecords, digest: string): Target | undefined {
  const entries = records.indexes.all().flatMap((index) => index.entries);
  const ids = entries.flatMap(({ descriptor, image }) => (descriptor.digest === digest ? (image ?? []) : []));
  const image = records.get(ids[0] ?? "") ?? records.all().find(({ manifest }) => manifest.digest === digest);
  return image === undefined ? undefined : { image, index: records.indexOf(image.id), by: "id" };
}

function byPrefix(records: ImageRecords, text: string): Target | undefined {
  const prefix = text.replace(/^sha256:/, "");
  if (!/^[a-f0-9]{1,64}$/.test(prefix)) return undefined;
  const ids = [...records.ids(), ...records.indexes.all().map(({ descriptor }) => descriptor.digest)];
  const [found, ...more] = ids.filter((id) => isIdOf(id, prefix));
  return found === undefined || more.length > 0 ? undefined : byId(records, found);
}

function refuse(name: string): never {
  throw new GantryError("not-found", `No such image: ${name}`);
}

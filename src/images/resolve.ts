import { GantryError } from "../base/errors.ts";
import { isDigest } from "../oci/digest.ts";
import { familiarString, isIdentifier, parseNormalized, type Reference, tagNameOnly } from "../oci/reference.ts";
import type { ImageRecord, ImageRecords } from "./record.ts";

/**
 * Finds the image of a name, id, or unique prefix of an id, in Docker's order: a name wins over an id's prefix.
 * Throws `not-found` with "No such image: …", and `invalid` for what is neither.
 */
export function findImage(records: ImageRecords, nameOrId: string): ImageRecord {
  const id = fullId(nameOrId);
  if (id !== undefined) return records.get(id) ?? refuse(nameOrId);
  const reference = parseNormalized(nameOrId);
  return records.named(tagNameOnly(reference)) ?? byPrefix(records, nameOrId) ?? refuse(missingName(reference));
}

/** True if the text is an id of this image, or the beginning of one. */
export function isIdOf(id: string, text: string): boolean {
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

function byPrefix(records: ImageRecords, text: string): ImageRecord | undefined {
  const prefix = text.replace(/^sha256:/, "");
  if (!/^[a-f0-9]{1,64}$/.test(prefix)) return undefined;
  const found = records.all().filter((image) => isIdOf(image.id, prefix));
  return found.length === 1 ? found[0] : undefined;
}

function missingName(reference: Reference): string {
  return familiarString(tagNameOnly(reference));
}

function refuse(name: string): never {
  throw new GantryError("not-found", `No such image: ${name}`);
}

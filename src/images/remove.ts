import type { ImageDeleteRow } from "../api/image.ts";
import { GantryError } from "../base/errors.ts";
import { familiarString, parseNormalized, type Reference, repositoryOf, tagNameOnly } from "../oci/reference.ts";
import { publishImageEvent } from "./event.ts";
import type { ImageUse } from "./image.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageName, ImageRecord } from "./record.ts";
import { findImage, isIdOf, shortId } from "./resolve.ts";
import { sweep } from "./sweep.ts";

export interface RemoveOptions {
  readonly force: boolean;
  /** Remove untagged parents too. */
  readonly prune: boolean;
}

/**
 * Removes a name or an image, by Docker's rules: a name is taken away alone while the image has others; what is in
 * use or has children is refused with `conflict`, and `force` overrides all but running containers and children.
 */
export async function removeImage(
  context: ImageContext,
  nameOrId: string,
  options: RemoveOptions,
): Promise<ImageDeleteRow[]> {
  const image = findImage(context.records, nameOrId);
  const rows: ImageDeleteRow[] = [];
  let isQuiet = false;
  if (isIdOf(image.id, nameOrId)) {
    const names = context.records.namesOf(image.id);
    if (isOneName(names)) {
      const conflict = conflictOf(context, image, { ...options, ignoreNames: true });
      if (conflict !== undefined) throw conflict.error;
      for (const name of names) untag(context, image, name, rows);
    }
  } else {
    untagByName(context, image, nameOrId, options.force, rows);
    if (context.records.namesOf(image.id).length > 0) return rows;
    isQuiet = true;
  }
  await deleteImage(context, image, rows, { ...options, isQuiet });
  return rows;
}

function untagByName(
  context: ImageContext,
  image: ImageRecord,
  nameOrId: string,
  force: boolean,
  rows: ImageDeleteRow[],
): void {
  const { records } = context;
  const [use] = context.inUse().get(image.id) ?? [];
  if (!force && use !== undefined && isOneName(records.namesOf(image.id))) {
    throw new GantryError(
      "conflict",
      `conflict: unable to remove repository reference ${JSON.stringify(nameOrId)} (must force) - container ` +
        `${shortId(use.containerId)} is using its referenced image ${shortId(image.id)}`,
    );
  }
  const wanted = tagNameOnly(parseNormalized(nameOrId));
  const name = records.namesOf(image.id).find(({ reference }) => familiarString(reference) === familiarString(wanted));
  if (name !== undefined) untag(context, image, name, rows);
  if (wanted.digest !== undefined) return;
  // A repository's digests go with the last of its tags.
  const left = records.namesOf(image.id).filter(({ reference }) => repositoryOf(reference) === repositoryOf(wanted));
  if (left.some(({ reference }) => reference.digest === undefined)) return;
  for (const { key, reference } of left) {
    records.removeName(key);
    rows.push({ Untagged: familiarString(reference) });
  }
}

function untag(context: ImageContext, image: ImageRecord, name: ImageName, rows: ImageDeleteRow[]): void {
  context.records.removeName(name.key);
  publishImageEvent(context.events, "untag", image, image.id);
  rows.push({ Untagged: familiarString(name.reference) });
}

async function deleteImage(
  context: ImageContext,
  image: ImageRecord,
  rows: ImageDeleteRow[],
  options: RemoveOptions & { readonly isQuiet: boolean },
): Promise<void> {
  const { records } = context;
  const conflict = conflictOf(context, image, { ...options, ignoreNames: false });
  if (conflict !== undefined) {
    const isDangling = records.namesOf(image.id).length === 0 && records.childrenOf(image.id).length === 0;
    if (options.isQuiet && (!isDangling || conflict.isUse)) return;
    throw conflict.error;
  }
  const parent = image.parent === undefined ? undefined : records.get(image.parent);
  for (const name of records.namesOf(image.id)) untag(context, image, name, rows);
  records.remove(image.id);
  await context.underWay.drop(image);
  publishImageEvent(context.events, "delete", image, image.id);
  rows.push({ Deleted: image.id });
  const removed = await sweep(context, [image]);
  for (const chainId of removed) rows.push({ Deleted: chainId });
  if (options.prune && parent !== undefined) {
    await deleteImage(context, parent, rows, { force: false, prune: true, isQuiet: true });
  }
}

interface Conflict {
  readonly error: GantryError;
  readonly isUse: boolean;
}

function conflictOf(
  context: ImageContext,
  image: ImageRecord,
  options: { readonly force: boolean; readonly ignoreNames: boolean },
): Conflict | undefined {
  const uses: readonly ImageUse[] = context.inUse().get(image.id) ?? [];
  const running = uses.find((use) => use.running);
  if (context.records.childrenOf(image.id).length > 0) {
    return conflict(image, "cannot be forced", "image has dependent child images", false);
  }
  if (running !== undefined) {
    const why = `image is being used by running container ${shortId(running.containerId)}`;
    return conflict(image, "cannot be forced", why, true);
  }
  const [user] = uses;
  if (user !== undefined && context.records.underWay(image.id) !== undefined) {
    const why = `image is not whole yet, and container ${shortId(user.containerId)} needs the rest of it`;
    return conflict(image, "cannot be forced", why, true);
  }
  if (options.force) return undefined;
  if (!options.ignoreNames && context.records.namesOf(image.id).length > 0) {
    return conflict(image, "must be forced", "image is referenced in multiple repositories", false);
  }
  const [stopped] = uses;
  if (stopped === undefined) return undefined;
  const why = `image is being used by stopped container ${shortId(stopped.containerId)}`;
  return conflict(image, "must be forced", why, true);
}

function conflict(image: ImageRecord, how: string, why: string, isUse: boolean): Conflict {
  const message = `conflict: unable to delete ${shortId(image.id)} (${how}) - ${why}`;
  return { error: new GantryError("conflict", message), isUse };
}

/** True if all names are of one repository with at most one tag; false for none at all. */
function isOneName(names: readonly ImageName[]): boolean {
  const references: Reference[] = names.map(({ reference }) => reference);
  const tags = references.filter(({ tag }) => tag !== undefined);
  return tags.length <= 1 && new Set(references.map(repositoryOf)).size === 1;
}

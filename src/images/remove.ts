import type { ImageDeleteRow } from "../api/image.ts";
import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Platform } from "../oci/image.ts";
import { formatPlatform } from "../oci/platform.ts";
import { familiarString, parseNormalized, type Reference, repositoryOf, tagNameOnly } from "../oci/reference.ts";
import { publishImageEvent } from "./event.ts";
import type { ImageUse } from "./image.ts";
import { type IndexRecord, imagesOf } from "./index-record.ts";
import { requirePlatform } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageName, ImageRecord, ImageRecords } from "./record.ts";
import { findTarget, imageFor, shortId, type Target } from "./resolve.ts";
import { sweep } from "./sweep.ts";

export interface RemoveOptions {
  readonly force: boolean;
  /** Remove untagged parents too. */
  readonly prune: boolean;
}

/**
 * Removes a name or an image, by Docker's rules: a name is taken away alone while the image has others; what is in
 * use or has children is refused with `conflict`, and `force` overrides all but running containers and children. With
 * the last name of an index goes what only that had.
 */
export async function removeImage(
  context: ImageContext,
  nameOrId: string,
  options: RemoveOptions,
): Promise<ImageDeleteRow[]> {
  const { records } = context;
  const target = findTarget(records, nameOrId);
  const { image } = target;
  const rows: ImageDeleteRow[] = [];
  let isQuiet = false;
  if (target.by === "name") {
    untagByName(context, image, nameOrId, options.force, rows);
    isQuiet = true;
  } else {
    const names = namesOf(records, target);
    if (isOneName(names) || (target.by === "index" && options.force)) {
      const conflict = conflictOf(context, image, { ...options, ignoreNames: true });
      if (conflict !== undefined) throw conflict.error;
      for (const name of names) untag(context, image, name, rows);
    } else if (names.length > 0 && target.by === "index") {
      throw conflict(image, "must be forced", "image is referenced in multiple repositories", false).error;
    }
  }
  if (target.by === "id" && options.force && isHeld(records, image)) {
    const inUse = conflictOf(context, image, { force: true, ignoreNames: true });
    if (inUse !== undefined) throw inUse.error;
    await deletePlatform(context, image, rows);
    return rows;
  }
  const isLeft = target.by !== "id" && records.namesOf(image.id).length > 0;
  if (!isLeft) await deleteImage(context, image, rows, { ...options, isQuiet });
  rows.push(...(await dropLooseIndexes(context)));
  return rows;
}

/** True for an image that has no name, and belongs to an index for its platform. */
function isHeld(records: ImageRecords, { id }: ImageRecord): boolean {
  return records.namesOf(id).length === 0 && records.isMember(id);
}

/** The names that go with what was found: an image's, or those of one index alone. */
function namesOf(records: ImageRecords, { by, image, index }: Target): ImageName[] {
  return by === "index" && index !== undefined ? records.namesOfIndex(index) : records.namesOf(image.id);
}

/**
 * Removes what is here of an index for some platforms: the index keeps its names and its other images. Of an image that
 * stands alone, and of the last that is left of an index, all goes.
 */
export async function removePlatforms(
  context: ImageContext,
  nameOrId: string,
  platforms: readonly Platform[],
  options: RemoveOptions,
): Promise<ImageDeleteRow[]> {
  const { records } = context;
  const target = findTarget(records, nameOrId);
  const { image, index } = target;
  if (index === undefined) {
    for (const platform of platforms) requirePlatform(image, nameOrId, platform);
    return removeImage(context, nameOrId, options);
  }
  const chosen = [...new Set(platforms.map((platform) => imageFor(records, target, nameOrId, platform)))];
  if (chosen.length === imagesOf(index).length) return removeImage(context, nameOrId, options);
  if (!options.force) {
    throw new GantryError(
      "invalid",
      "Content will be removed from all images referencing this variant. Use --force to force delete.",
    );
  }
  for (const one of chosen) {
    const inUse = conflictOf(context, one, { force: true, ignoreNames: true });
    if (inUse !== undefined) throw inUse.error;
  }
  const rows: ImageDeleteRow[] = [];
  for (const one of chosen) await deletePlatform(context, one, rows);
  rows.push(...(await dropLooseIndexes(context)));
  return rows;
}

/** One that has a name of its own, too, stays under that. */
async function deletePlatform(context: ImageContext, image: ImageRecord, rows: ImageDeleteRow[]): Promise<void> {
  const { records } = context;
  const indexes = records.indexes.having(image.id);
  const entries = indexes.flatMap((index) => index.entries.filter((entry) => entry.image === image.id));
  for (const digest of new Set(entries.map(({ descriptor }) => descriptor.digest))) rows.push({ Deleted: digest });
  const own = records.namesOf(image.id).filter(({ reference }) => records.indexNamed(reference) === undefined);
  if (own.length > 0) records.leaveIndexes(image.id);
  else await forget(context, image);
  failpoint("images.remove.recorded");
  await sweep(context, own.length > 0 ? [] : [image], indexes);
}

function untagByName(
  context: ImageContext,
  image: ImageRecord,
  nameOrId: string,
  force: boolean,
  rows: ImageDeleteRow[],
): void {
  const { records } = context;
  const [use] = usesOf(context, image);
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
  const indexes = records.indexesRunning(image.id);
  const members = indexes.flatMap((index) => loneMembers(records, index, indexes));
  for (const index of indexes) records.removeIndex(index);
  // What another index has of it stays there.
  const gone = records.indexes.having(image.id).length > 0 ? members : [image, ...members];
  for (const one of gone) await forget(context, one);
  failpoint("images.remove.recorded");
  for (const { id } of gone) rows.push({ Deleted: id });
  for (const { descriptor } of indexes) rows.push({ Deleted: descriptor.digest });
  const removed = await sweep(context, gone, indexes);
  for (const chainId of removed) rows.push({ Deleted: chainId });
  if (options.prune && parent !== undefined) {
    await deleteImage(context, parent, rows, { force: false, prune: true, isQuiet: true });
  }
}

/** Removes an image's record, and tells. */
async function forget(context: ImageContext, image: ImageRecord): Promise<void> {
  context.records.remove(image.id);
  await context.underWay.drop(image);
  publishImageEvent(context.events, "delete", image, image.id);
}

/**
 * Removes indexes that nothing leads to any more: they have no name, and what this machine runs of them has one, or
 * belongs to another index. Their images stay where somebody uses them. Called where names may have moved.
 */
export async function dropLooseIndexes(context: ImageContext): Promise<ImageDeleteRow[]> {
  const { inUse, records } = context;
  const loose = records.indexes.all().filter((index) => {
    if (records.namesOfIndex(index).length > 0) return false;
    return records.namesOf(index.image).length > 0 || records.isMember(index.image);
  });
  if (loose.length === 0) return [];
  const uses = inUse();
  const rows: ImageDeleteRow[] = [];
  const gone: ImageRecord[] = [];
  for (const index of loose) {
    const members = loneMembers(records, index, [index]).filter(({ id }) => !uses.has(id));
    records.removeIndex(index);
    for (const member of members) await forget(context, member);
    gone.push(...members);
    rows.push(...members.map(({ id }) => ({ Deleted: id })), { Deleted: index.descriptor.digest });
  }
  failpoint("images.remove.recorded");
  for (const chainId of await sweep(context, gone, loose)) rows.push({ Deleted: chainId });
  return rows;
}

/** Images that only these indexes lead to, beside the one that this machine runs. */
function loneMembers(records: ImageRecords, index: IndexRecord, going: readonly IndexRecord[]): ImageRecord[] {
  const digests = new Set(going.map(({ descriptor }) => descriptor.digest));
  return imagesOf(index).flatMap((id) => {
    if (id === index.image || records.namesOf(id).length > 0) return [];
    const isElsewhere = records.indexes.having(id).some(({ descriptor }) => !digests.has(descriptor.digest));
    return isElsewhere ? [] : (records.get(id) ?? []);
  });
}

/** Containers of an image, and of those that would go with it. */
function usesOf({ inUse, records }: ImageContext, image: ImageRecord): ImageUse[] {
  const all = inUse();
  const indexes = records.indexesRunning(image.id);
  const ids = new Set([
    image.id,
    ...indexes.flatMap((index) => loneMembers(records, index, indexes).map(({ id }) => id)),
  ]);
  return [...ids].flatMap((id) => all.get(id) ?? []);
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
  const uses = usesOf(context, image);
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
  const [holder] = context.records.indexes.having(image.id);
  if (holder !== undefined && isHeld(context.records, image)) {
    const why = `image is that of ${shortId(holder.descriptor.digest)} for ${formatPlatform(image.config)}`;
    return conflict(image, "must be forced", why, false);
  }
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

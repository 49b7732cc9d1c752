import { GantryError } from "../base/errors.ts";
import { familiarName, type Reference } from "../oci/reference.ts";
import type { Repository } from "../remote/repository.ts";
import type { Waiting } from "../remote/settings.ts";

/** More tags of one repository than these are not pulled or copied at once. */
const MOST_TAGS = 10_000;

/** A repository's tags, as its registry lists them; throws where there are none or too many, and what the registry does. */
export async function allTags(
  repository: Repository,
  reference: Reference,
  verb: "pull" | "copy",
  waiting: Waiting,
): Promise<string[]> {
  const what = `cannot ${verb} all tags of ${familiarName(reference)}`;
  const tags: string[] = [];
  for await (const tag of repository.tags(waiting)) {
    if (tags.length === MOST_TAGS) throw new GantryError("invalid", `${what}: there are more than ${MOST_TAGS}`);
    tags.push(tag);
  }
  if (tags.length === 0) throw new GantryError("not-found", `${what}: it has none`);
  return tags;
}

import { atOnce } from "../base/at-once.ts";
import { GantryError } from "../base/errors.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import { pause } from "../base/pause.ts";
import { type Descriptor, type Index, MEDIA_TYPE } from "../oci/image.ts";
import { RefusedError } from "./failure.ts";
import type { Repository } from "./repository.ts";
import type { Waiting } from "./settings.ts";

const TRIES = 8;
const PAUSE_MS = 150;
/** No reader takes an index of more. */
const MOST_ENTRIES = 4000;
/** Entries that a registry is asked for at a time. */
const AT_ONCE = 8;

/** Those of this process wait for each other: only other machines have to be raced. */
const writing = new KeyedLock();

/**
 * Adds entries to the index of what refers to a manifest, which a registry without the referrers API has at the tag
 * `sha256-<hex>` (distribution spec, "Referrers Tag Schema"). Registries have no "write if nobody wrote": it looks right
 * before it writes, looks again a little later, and begins anew where another's writing has taken its own away. What was
 * removed since it was listed is left out where the registry refuses to have it listed. Throws `conflict` if it never
 * got through, or if something else lies at the tag.
 */
export async function addReferrers(
  repository: Repository,
  subject: string,
  entries: readonly Descriptor[],
  waiting: Waiting,
): Promise<void> {
  if (entries.length === 0) return;
  const tag = referrersTag(subject);
  const { endpoint, reference } = repository;
  await writing.run(`${endpoint.base} ${reference.path} ${tag}`, async () => {
    for (let tries = 0; ; tries++) {
      const before = await indexAt(repository, tag, waiting);
      const known = before?.index.manifests ?? [];
      const missing = entries.filter((entry) => !known.some(({ digest }) => digest === entry.digest));
      // Written by the round before this one, or there already.
      if (missing.length === 0) return;
      if (tries === TRIES) {
        throw new GantryError("conflict", `cannot refer to ${subject}: others wrote its referrers at every try`);
      }
      if (known.length + missing.length > MOST_ENTRIES) {
        throw new GantryError("conflict", `cannot refer to ${subject}: ${known.length} manifests do so already`);
      }
      await putIndex(repository, tag, before?.index, missing, waiting);
      // Who read before this was written writes within this time; two who wait for each other must not do so in step.
      await pause(PAUSE_MS * (1 + Math.random()), waiting.signal);
    }
  });
}

/** Puts the index with these entries added to it, and without what is gone where the registry refuses that. */
async function putIndex(
  repository: Repository,
  tag: string,
  before: Index | undefined,
  added: readonly Descriptor[],
  waiting: Waiting,
): Promise<void> {
  const put = async (kept: readonly Descriptor[]): Promise<void> => {
    const index: Index = {
      ...before,
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociIndex,
      manifests: [...kept, ...added],
    };
    await repository.putManifest(tag, MEDIA_TYPE.ociIndex, Buffer.from(JSON.stringify(index)), waiting);
  };
  const known = before?.manifests ?? [];
  try {
    await put(known);
  } catch (error) {
    const kept = isAboutWhatIsNamed(error) ? await stillThere(repository, known, waiting) : known;
    if (kept.length === known.length) throw error;
    await put(kept);
  }
}

/** Registries have several codes for a manifest that names what isn't there, and some none. */
function isAboutWhatIsNamed(error: unknown): boolean {
  return error instanceof RefusedError && [400, 404, 422].includes(error.status);
}

/** Those of the entries that the registry still has, in their order. */
async function stillThere(
  repository: Repository,
  entries: readonly Descriptor[],
  waiting: Waiting,
): Promise<readonly Descriptor[]> {
  const gone = new Set<string>();
  await atOnce(AT_ONCE, entries, ({ digest }) =>
    repository.resolve(digest, waiting).catch((error: unknown) => {
      if (!(error instanceof RefusedError && error.status === 404)) throw error;
      gone.add(digest);
    }),
  );
  return entries.filter(({ digest }) => !gone.has(digest));
}

/** Of another algorithm, as much of a digest as a tag may have. */
function referrersTag(digest: string): string {
  const [algorithm = "", encoded = ""] = digest.split(":");
  return `${algorithm.slice(0, 32)}-${encoded.slice(0, 64)}`.replaceAll(/[^\w.-]/g, "-");
}

async function indexAt(repository: Repository, tag: string, waiting: Waiting): Promise<{ index: Index } | undefined> {
  try {
    const found = await repository.manifest(tag, waiting);
    if (found.kind === "index") return found;
  } catch (error) {
    if (error instanceof RefusedError && error.status === 404) return undefined;
    throw error;
  }
  throw new GantryError("conflict", `the tag ${tag}, at which the index of what refers to it belongs, is an image's`);
}

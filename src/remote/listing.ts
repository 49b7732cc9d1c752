import * as v from "valibot";
import { GantryError } from "../base/errors.ts";
import type { Descriptor } from "../oci/image.ts";
import { parseDocument, parseIndex } from "../oci/image-config.ts";
import { isTag } from "../oci/reference.ts";
import type { Caller } from "./caller.ts";
import type { Waiting } from "./settings.ts";
import type { Answer } from "./transport.ts";

const PAGE = 1000;
const MOST_PAGES = 1000;
const MOST_TAGS = 100_000;
const MOST_REFERRERS = 10_000;
/** Of all pages of one list. */
const MOST_BYTES = 64 << 20;

const tagsPage = v.object({ tags: v.nullish(v.array(v.string())) });

/** All tags below `v2/<repository>/tags/list`, page by page; what is no tag is left out. */
export async function listTags(caller: Caller, path: string, name: string, waiting: Waiting): Promise<string[]> {
  const tags = new Set<string>();
  let length = 0;
  let next: string | URL | undefined = withQuery(path, { n: String(PAGE) });
  for (let pages = 0; next !== undefined; pages++) {
    if (pages === MOST_PAGES || tags.size > MOST_TAGS) throw tooMany(`the tags of ${name}`, MOST_TAGS);
    const { answer, bytes } = await fetchPage(caller, next, `the tags of ${name}`, waiting);
    length = bounded(`the tags of ${name}`, length + bytes.length);
    const page = v.safeParse(tagsPage, parseDocument(bytes, `list of the tags of ${name}`), { abortEarly: true });
    if (!page.success) throw new GantryError("internal", `cannot read the tags of ${name}: the answer is no list`);
    const found = page.output.tags ?? [];
    const known = tags.size;
    for (const tag of found) if (isTag(tag)) tags.add(tag);
    const linked = nextOf(answer, caller);
    // A full page without a link may be one of a registry that only knows `last`; one that knows neither repeats itself.
    const isFull = linked === undefined && found.length === PAGE;
    next = isFull ? withQuery(path, { n: String(PAGE), last: found.at(-1) ?? "" }) : linked;
    if (tags.size === known) next = undefined;
  }
  return [...tags];
}

/**
 * What refers to a manifest, by the referrers API at `v2/<repository>/referrers/<digest>`; undefined where the
 * registry hasn't that.
 */
export async function listReferrers(
  caller: Caller,
  path: string,
  options: { readonly artifactType?: string | undefined },
  waiting: Waiting,
): Promise<Descriptor[]> {
  const { artifactType } = options;
  const found = new Map<string, Descriptor>();
  let length = 0;
  let next: string | URL | undefined = withQuery(path, artifactType === undefined ? {} : { artifactType });
  for (let pages = 0; next !== undefined; pages++) {
    if (pages === MOST_PAGES || found.size > MOST_REFERRERS) throw tooMany("referrers", MOST_REFERRERS);
    const { answer, bytes } = await fetchPage(caller, next, "the referrers", waiting);
    length = bounded("the referrers", length + bytes.length);
    const known = found.size;
    for (const one of parseIndex(bytes).manifests) found.set(one.digest, one);
    next = found.size === known ? undefined : nextOf(answer, caller);
  }
  return [...found.values()];
}

const repositoriesPage = v.object({ repositories: v.nullish(v.array(v.string())) });

/** The paths of all repositories that a registry shows in its catalog, as they come page by page. */
export async function* listRepositories(caller: Caller, name: string, waiting: Waiting): AsyncGenerator<string> {
  let next: string | URL | undefined = withQuery("v2/_catalog", { n: String(PAGE) });
  let last = "";
  for (let pages = 0; next !== undefined && pages < MOST_PAGES; pages++) {
    const { answer, bytes } = await fetchPage(caller, next, `the catalog of ${name}`, waiting);
    const page = v.safeParse(repositoriesPage, parseDocument(bytes, `catalog of ${name}`), { abortEarly: true });
    if (!page.success) throw new GantryError("internal", `cannot read the catalog of ${name}: the answer is no list`);
    const found = page.output.repositories ?? [];
    yield* found;
    // A registry that repeats itself would go on for ever.
    const isSame = found.length === 0 || found.at(-1) === last;
    last = found.at(-1) ?? "";
    next = isSame ? undefined : nextOf(answer, caller);
  }
}

/** The `Link` to the next page (RFC 8288), if it stays at the endpoint. */
function nextOf({ headers, url }: Answer, { endpoint }: Caller): URL | undefined {
  const link = headers.link;
  const text = Array.isArray(link) ? link.join(", ") : (link ?? "");
  for (const [, target = "", parameters = ""] of text.slice(0, 8192).matchAll(/<([^<>]*)>([^<]*)/g)) {
    if (!/;\s*rel="?next"?\s*(?:[;,]|$)/i.test(parameters) || !URL.canParse(target, url.href)) continue;
    const next = new URL(target, url);
    const base = new URL(endpoint.base);
    if (next.host === base.host) return new URL(next.pathname + next.search, base);
    throw new GantryError("forbidden", `cannot read the next page of ${base.host}: it lies at ${next.host}`);
  }
  return undefined;
}

function fetchPage(
  caller: Caller,
  url: string | URL,
  what: string,
  waiting: Waiting,
): Promise<{ readonly answer: Answer; readonly bytes: Buffer }> {
  return caller.fetch({ method: "GET", url }, what, waiting);
}

function withQuery(path: string, query: Readonly<Record<string, string>>): string {
  const text = new URLSearchParams(query).toString();
  if (text === "") return path;
  return `${path}${path.includes("?") ? "&" : "?"}${text}`;
}

/** The bytes that came of a list; throws where they are too many. */
function bounded(what: string, length: number): number {
  if (length <= MOST_BYTES) return length;
  throw new GantryError("invalid", `cannot read ${what}: the list is longer than ${MOST_BYTES} bytes`);
}

function tooMany(what: string, limit: number): GantryError {
  return new GantryError("invalid", `cannot read ${what}: there are more than ${limit}`);
}

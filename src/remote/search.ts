import * as v from "valibot";
import { GantryError, messageOf } from "../base/errors.ts";
import { MAX_DOCUMENT, parseDocument } from "../oci/image-config.ts";
import { getDefaultDomain } from "../oci/reference.ts";
import { readDocument } from "./body.ts";
import type { Caller } from "./caller.ts";
import type { Credentials } from "./credentials.ts";
import { RefusedError } from "./failure.ts";
import { listRepositories } from "./listing.ts";
import type { Registries } from "./registry.ts";
import type { Waiting } from "./settings.ts";

/** The only search that there is for Docker Hub's names. */
const HUB_SEARCH = "https://index.docker.io/v1/search";
const HUB = "docker.io";
const DEFAULT_LIMIT = 25;
const MOST = 100;
const MAX_TERM = 1000;
/** The longest that a catalog is looked through; what was found by then is the answer. */
const CATALOG_MS = 20_000;
/** What a registry says that has no search: not that one may not use it. */
const NO_SEARCH: readonly number[] = [400, 403, 404, 405, 406, 410, 501];

export interface FoundImage {
  readonly name: string;
  readonly description: string;
  readonly stars: number;
  readonly isOfficial: boolean;
}

const text = v.nullish(v.string(), "");
const answerShape = v.looseObject({
  results: v.nullish(
    v.array(
      v.looseObject({
        name: text,
        description: text,
        star_count: v.nullish(v.number(), 0),
        is_official: v.nullish(v.boolean(), false),
      }),
    ),
    [],
  ),
});

/**
 * Asks Docker Hub, or the registry that a term begins with (`registry:5000/web`), by the search of the first registry
 * API. Where a registry hasn't that, its catalog is looked through for repositories whose path has the term in it.
 */
export async function searchImages(
  registries: Pick<Registries, "asking">,
  wish: { readonly term: string; readonly limit: number | undefined },
  credentials: Credentials,
  waiting: Waiting,
): Promise<readonly FoundImage[]> {
  const limit = wish.limit || DEFAULT_LIMIT;
  if (limit < 1 || limit > MOST) {
    throw new GantryError("invalid", `limit ${limit} is outside the range of [1, ${MOST}]`);
  }
  const { domain, rest } = splitTerm(wish.term);
  const query = new URLSearchParams({ q: rest, n: String(limit) });
  const address = domain === HUB ? `${HUB_SEARCH}?${query}` : `v1/search?${query}`;
  try {
    return await registries.asking(domain, credentials, [], (caller) => bySearch(caller, address, waiting));
  } catch (error) {
    if (domain === HUB || !(error instanceof NoSearchError)) throw error;
  }
  return registries.asking(domain, credentials, ["registry:catalog:*"], (caller) =>
    byCatalog(caller, { domain, term: rest.toLowerCase(), limit }, waiting),
  );
}

/** The registry has no search: its catalog may do. */
class NoSearchError extends GantryError {
  constructor(cause?: unknown) {
    super("not-found", `the registry has no search${cause === undefined ? "" : `: ${messageOf(cause)}`}`, { cause });
    this.name = "NoSearchError";
  }
}

async function bySearch(caller: Caller, url: string, waiting: Waiting): Promise<readonly FoundImage[]> {
  const bytes = await answerOf(caller, url, waiting);
  // Some answer every address with a page for people.
  const parsed = v.safeParse(answerShape, parsedOrUndefined(bytes));
  if (!parsed.success) throw new NoSearchError();
  return (parsed.output.results ?? [])
    .filter(({ name }) => name !== "")
    .map((row) => ({
      name: row.name ?? "",
      description: row.description ?? "",
      stars: row.star_count ?? 0,
      isOfficial: row.is_official ?? false,
    }));
}

async function answerOf(caller: Caller, url: string, waiting: Waiting): Promise<Buffer> {
  try {
    const { body } = await caller.call({ method: "GET", url, headers: { "X-Docker-Token": "true" } }, waiting);
    const limit = { limit: MAX_DOCUMENT, timeMs: caller.limits.document, signal: waiting.signal };
    return await readDocument(body, "the results of the search", limit);
  } catch (error) {
    if (error instanceof RefusedError && NO_SEARCH.includes(error.status)) throw new NoSearchError(error);
    throw error;
  }
}

async function byCatalog(
  caller: Caller,
  { domain, term, limit }: { readonly domain: string; readonly term: string; readonly limit: number },
  waiting: Waiting,
): Promise<readonly FoundImage[]> {
  const found: FoundImage[] = [];
  const deadline = performance.now() + CATALOG_MS;
  try {
    for await (const path of listRepositories(caller, domain, waiting)) {
      if (path.includes(term)) found.push({ name: `${domain}/${path}`, description: "", stars: 0, isOfficial: false });
      if (found.length === limit || performance.now() > deadline) break;
    }
  } catch (error) {
    if (!(error instanceof RefusedError) || error.status === 401 || error.status === 429) throw error;
    throw error.worded(`cannot search ${domain}: it has no search, and does not show its catalog: ${error.message}`);
  }
  return found;
}

/** As Docker splits it: `registry:5000/web`; `team/web` names no registry. */
function splitTerm(term: string): { readonly domain: string; readonly rest: string } {
  if (/^https?:\/\//.test(term)) {
    throw new GantryError("invalid", `invalid repository name: repository name (${term}) should not have a scheme`);
  }
  if (term.length > MAX_TERM) throw new GantryError("invalid", `cannot search: the term is longer than ${MAX_TERM}`);
  const slash = term.indexOf("/");
  const first = term.slice(0, Math.max(slash, 0));
  const isNamed = slash > 0 && (/[.:]/.test(first) || first === "localhost");
  const domain = isNamed ? first : getDefaultDomain();
  if (isNamed && !/^(?:[a-zA-Z0-9.-]+|\[[a-fA-F0-9:]+\])(?::\d+)?$/.test(first)) {
    throw new GantryError("invalid", `invalid repository name: ${JSON.stringify(first)} is no registry`);
  }
  const isHub = domain === HUB || domain === "index.docker.io";
  const rest = isNamed ? term.slice(slash + 1) : term;
  return { domain: isHub ? HUB : domain, rest: isHub ? rest.replace(/^library\//, "") : rest };
}

function parsedOrUndefined(bytes: Uint8Array): unknown {
  try {
    return parseDocument(bytes, "answer");
  } catch {
    return undefined;
  }
}

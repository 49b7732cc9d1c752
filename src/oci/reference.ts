import { GantryError } from "../base/errors.ts";
import { validateDigest } from "./digest-format.ts";

/**
 * A named reference in its normal form, as the distribution project's `reference` package has it: `busybox` is
 * `docker.io/library/busybox`. `tag` and `digest` are undefined when the text has none.
 */
export interface Reference {
  readonly domain: string;
  readonly path: string;
  readonly tag?: string;
  /** `sha256:<64 hex>`. */
  readonly digest?: string;
}

const HUB = "docker.io";
const LEGACY_DOMAIN = "index.docker.io";
const OFFICIAL = "library/";
const DEFAULT_TAG = "latest";
const MAX_PATH = 255;
/** Names longer than any that could be right are refused before a regular expression sees them. */
const MAX_TEXT = 4096;

const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const DOMAIN = `(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const PATH = `${COMPONENT}(?:/${COMPONENT})*`;
const TAG = "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}";
const DIGEST = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
const REFERENCE = new RegExp(`^(${DOMAIN})/(${PATH})(?::(${TAG}))?(?:@(${DIGEST}))?$`);
const TAG_ONLY = new RegExp(`^${TAG}$`);
const IDENTIFIER = /^[a-f0-9]{64}$/;

let defaultDomain = HUB;

/** What names without a registry mean in this process: `docker.io` unless an engine is configured otherwise. */
export function setDefaultDomain(domain: string): void {
  defaultDomain = domain;
}

/** The registry of names without one. */
export function getDefaultDomain(): string {
  return defaultDomain;
}

/**
 * Parses what a user types. Errors are `invalid` with the original's texts. `algorithms` are the digest algorithms
 * taken for supported; a name with another is refused.
 */
export function parseNormalized(text: string, algorithms?: readonly string[]): Reference {
  if (IDENTIFIER.test(text)) {
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  if (text.length > MAX_TEXT) throw invalid("invalid reference format");
  const { domain, rest } = splitDomain(text);
  const remote = rest.split(":", 1)[0] ?? "";
  if (remote.toLowerCase() !== remote) {
    throw invalid(`invalid reference format: repository name (${remote}) must be lowercase`);
  }
  const match = REFERENCE.exec(`${domain}/${rest}`);
  if (match === null) throw invalid("invalid reference format");
  const [, host = "", path = "", tag, digest] = match;
  if (path.length > MAX_PATH) throw invalid(`repository name must not be more than ${MAX_PATH} characters`);
  if (digest !== undefined) validateDigest(digest, algorithms);
  return { domain: host, path, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) };
}

/** True for what may stand behind the colon of a name. */
export function isTag(text: string): boolean {
  return TAG_ONLY.test(text);
}

/** True for a name that reads as a full image id without its `sha256:`. */
export function isIdentifier(text: string): boolean {
  return IDENTIFIER.test(text);
}

/** `docker.io/library/busybox`: domain and path only. */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** The whole normal form: `docker.io/library/busybox:latest@sha256:…`. */
export function formatReference(reference: Reference): string {
  return repositoryOf(reference) + suffix(reference);
}

/**
 * The short form that users see of the repository: `busybox`, `user/app`, `host:5000/app`. It reads as the same name
 * again, so the registry stays where the path alone would be taken for another.
 */
export function familiarName(reference: Reference): string {
  if (reference.domain !== defaultDomain) return repositoryOf(reference);
  const { path } = reference;
  if (defaultDomain !== HUB) return splitDomain(path).rest === path ? path : repositoryOf(reference);
  const short = path.startsWith(OFFICIAL) ? path.slice(OFFICIAL.length) : path;
  return short.includes("/") && path.startsWith(OFFICIAL) ? path : short;
}

/** The short form with tag and digest: `busybox:1.36`. */
export function familiarString(reference: Reference): string {
  return familiarName(reference) + suffix(reference);
}

/** Whether a name has neither tag nor digest. */
export function isNameOnly({ digest, tag }: Reference): boolean {
  return digest === undefined && tag === undefined;
}

/** Adds `latest` to a name that has neither tag nor digest. */
export function tagNameOnly(reference: Reference): Reference {
  return isNameOnly(reference) ? { ...reference, tag: DEFAULT_TAG } : reference;
}

/** The name with this tag, without its digest. Throws `invalid` with "invalid tag format". */
export function withTag(reference: Reference, tag: string): Reference {
  if (!TAG_ONLY.test(tag)) throw invalid("invalid tag format");
  return { domain: reference.domain, path: reference.path, tag };
}

function suffix(reference: Reference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  return reference.digest === undefined ? tag : `${tag}@${reference.digest}`;
}

function splitDomain(text: string): { domain: string; rest: string } {
  const slash = text.indexOf("/");
  const first = text.slice(0, Math.max(slash, 0));
  const named = slash >= 0 && (/[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first);
  let domain = named ? first : defaultDomain;
  let rest = named ? text.slice(slash + 1) : text;
  if (domain === LEGACY_DOMAIN) domain = HUB;
  if (domain === HUB && !rest.includes("/")) rest = OFFICIAL + rest;
  return { domain, rest };
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}

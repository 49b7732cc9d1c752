import { GantryError, isKind } from "../base/errors.ts";
import { Digester, sha256Of } from "../oci/digest.ts";
import { parseDigest } from "../oci/digest-format.ts";
import type { Descriptor } from "../oci/image.ts";
import { MAX_DOCUMENT } from "../oci/image-config.ts";
import { familiarString, type Reference } from "../oci/reference.ts";
import { type BlobPart, type BlobSource, readBlob } from "./blob-reader.ts";
import { discard } from "./body.ts";
import type { Caller } from "./caller.ts";
import { ACCEPTED_MANIFESTS, checkDigest, type ManifestDocument, readManifest, toldDigest } from "./document.ts";
import type { Endpoint } from "./endpoint.ts";
import { RefusedError, UnreachableError } from "./failure.ts";
import { listReferrers, listTags } from "./listing.ts";
import type { RateCeiling } from "./rate-ceiling.ts";
import type { Reachability } from "./reachability.ts";
import type { RemoteSettings, Waiting } from "./settings.ts";

const ACCEPT = { Accept: ACCEPTED_MANIFESTS };
/** Of a foreign layer. */
const MOST_URLS = 4;

/**
 * The content of one name, wherever it may be had: each request goes to the first endpoint that answers it well, so
 * that a mirror that lacks one blob or has a wrong one fails nothing.
 */
export class Repository {
  readonly reference: Reference;
  #callers: readonly Caller[];
  readonly #reachability: Reachability;
  readonly #downloads: RateCeiling;
  readonly #settings: Pick<RemoteSettings, "maxDownloadAttempts" | "minTransferRate">;
  readonly #served = new Map<string, string>();
  readonly #distrusted = new Map<string, Set<string>>();

  constructor(parts: {
    readonly reference: Reference;
    /** In the order to ask them; one alone for writing. */
    readonly callers: readonly [Caller, ...Caller[]];
    readonly reachability: Reachability;
    readonly downloads: RateCeiling;
    readonly settings: Pick<RemoteSettings, "maxDownloadAttempts" | "minTransferRate">;
  }) {
    this.reference = parts.reference;
    this.#callers = parts.callers;
    this.#reachability = parts.reachability;
    this.#downloads = parts.downloads;
    this.#settings = parts.settings;
  }

  /** For requests of one's own; of several endpoints the first to be asked. */
  get caller(): Caller {
    return this.#ordered()[0]!;
  }

  get endpoint(): Endpoint {
    return this.caller.endpoint;
  }

  /** `v2/library/busybox/blobs/uploads/` for `blobs/uploads/`, as `caller`'s endpoint has it. */
  path(rest: string): string {
    return this.#path(this.caller, rest);
  }

  /**
   * What a tag or digest points to, without fetching it. A registry that doesn't answer HEAD as it should is asked
   * for the manifest itself.
   */
  resolve(tagOrDigest: string, waiting: Waiting): Promise<Descriptor> {
    return this.#first(async (caller) => {
      try {
        const url = this.#path(caller, `manifests/${tagOrDigest}`);
        const { body, headers } = await caller.call({ method: "HEAD", url, headers: ACCEPT }, waiting);
        discard(body);
        const digest = toldDigest(headers["docker-content-digest"]);
        const size = Number(headers["content-length"] ?? Number.NaN);
        const mediaType = headers["content-type"]?.split(";")[0]?.trim();
        const isPlain = (headers["content-encoding"] ?? "identity") === "identity";
        if (digest !== undefined && mediaType && Number.isSafeInteger(size) && size <= MAX_DOCUMENT && isPlain) {
          return { mediaType, digest, size };
        }
      } catch (error) {
        // The answer to HEAD says nothing but its status; GET's says why.
        if (!(error instanceof RefusedError) || error.status === 429) throw error;
      }
      return (await this.#manifestAt(caller, tagOrDigest, waiting)).descriptor;
    });
  }

  /** The manifest or index of a tag or digest; by digest its bytes are checked against it. */
  manifest(tagOrDigest: string, waiting: Waiting): Promise<ManifestDocument> {
    return this.#first((caller) => this.#manifestAt(caller, tagOrDigest, waiting));
  }

  /** A small blob, such as a config, checked; `what` names it where it is another. */
  async document(descriptor: Descriptor, waiting: Waiting, what = "blob"): Promise<Buffer> {
    const { digest, size } = descriptor;
    if (size > MAX_DOCUMENT) {
      throw new GantryError("invalid", `cannot read ${digest}: it is longer than ${MAX_DOCUMENT} bytes`);
    }
    return this.#first(async (caller) => {
      const wish = { method: "GET", url: this.#path(caller, `blobs/${digest}`) } as const;
      const { bytes } = await this.#known(caller, digest, caller.fetch(wish, digest, waiting));
      if (bytes.length !== size || !hasDigest(bytes, digest)) throw failedVerification(digest, what);
      return bytes;
    });
  }

  /**
   * A blob's bytes as they come. It fails at its end if they were others than the digest says, and at once if there
   * are more than its size.
   */
  async *blob(descriptor: Descriptor, waiting: Waiting): AsyncGenerator<Buffer> {
    const { digest, size } = descriptor;
    const digester = new Digester(parseDigest(digest).algorithm);
    for await (const piece of this.read(descriptor, 0, waiting)) {
      digester.update(piece);
      yield piece;
    }
    if (digester.size !== size || digester.digest() !== digest) throw failedVerification(digest);
  }

  /**
   * A blob's bytes from `offset` on. They are not verified: who takes them does, and calls `distrust` where they were
   * wrong. Goes on by ranges where the line is cut, at another endpoint where one fails, and gives up after so many
   * tries in a row without a new byte. A registry without ranges sends all again, which is passed over here.
   */
  read(descriptor: Descriptor, offset: number, waiting: Waiting): AsyncGenerator<Buffer> {
    return this.#read(descriptor, { offset, end: descriptor.size }, waiting);
  }

  /** As `read`, the bytes of [offset, end) alone. `unsupported` for a registry that knows no ranges. */
  range(descriptor: Descriptor, offset: number, end: number, waiting: Waiting): AsyncGenerator<Buffer> {
    return this.#read(descriptor, { offset, end, isStrict: true }, waiting);
  }

  #read(descriptor: Descriptor, part: BlobPart, waiting: Waiting): AsyncGenerator<Buffer> {
    const { digest } = descriptor;
    const bad = this.#distrusted.get(digest);
    const all = [...this.#foreign(descriptor), ...this.#ordered().map((caller) => this.#source(caller, digest))];
    const trusted = all.filter(({ name }) => bad?.has(name) !== true);
    const from = {
      sources: trusted.length > 0 ? trusted : all,
      attempts: this.#settings.maxDownloadAttempts,
      leastRate: this.#settings.minTransferRate,
      ceiling: this.#downloads,
      limits: this.caller.limits,
      onServed: ({ name }: BlobSource) => void this.#served.set(digest, name),
    };
    return readBlob(descriptor, part, from, waiting);
  }

  /**
   * Says that what `read` brought of a digest was something else: who sent the last of it is not asked for it again.
   * True if there is another one to ask.
   */
  distrust(descriptor: Descriptor): boolean {
    const { digest } = descriptor;
    const bad = this.#distrusted.get(digest) ?? new Set();
    const served = this.#served.get(digest);
    if (served === undefined) return false;
    this.#distrusted.set(digest, bad.add(served));
    const names = [...this.#foreign(descriptor).map(({ name }) => name), ...this.#callers.map(nameOf)];
    return names.some((name) => !bad.has(name));
  }

  /** The size of a blob that the registry has; undefined for what it doesn't have, or doesn't say how long it is. */
  hasBlob(digest: string, waiting: Waiting): Promise<number | undefined> {
    return this.#first(async (caller) => {
      try {
        const answer = await caller.call({ method: "HEAD", url: this.#path(caller, `blobs/${digest}`) }, waiting);
        discard(answer.body);
        const size = Number(answer.headers["content-length"] ?? Number.NaN);
        return Number.isSafeInteger(size) ? size : undefined;
      } catch (error) {
        if (error instanceof RefusedError && (error.status === 404 || error.status === 405)) return undefined;
        throw error;
      }
    });
  }

  /** All tags, in the registry's order. */
  async *tags(waiting: Waiting): AsyncGenerator<string> {
    const name = familiarString({ domain: this.reference.domain, path: this.reference.path });
    yield* await this.#first((caller) => listTags(caller, this.#path(caller, "tags/list"), name, waiting));
  }

  /**
   * What refers to a manifest as its subject (OCI distribution 1.1), signatures for one: by the referrers API, else
   * by the index at the tag `sha256-<hex>`. Empty where nothing does.
   */
  async referrers(
    digest: string,
    options: { readonly artifactType?: string | undefined },
    waiting: Waiting,
  ): Promise<Descriptor[]> {
    const isWanted = ({ artifactType }: Descriptor): boolean =>
      options.artifactType === undefined || artifactType === options.artifactType;
    try {
      return await this.#first(async (caller) => {
        try {
          const found = await listReferrers(caller, this.#path(caller, `referrers/${digest}`), options, waiting);
          if (found.length > 0 || !caller.endpoint.isMirror) return found.filter(isWanted);
        } catch (error) {
          if (!isMissing(error)) throw error;
        }
        const tagged = await this.#manifestAt(caller, digest.replace(":", "-"), waiting);
        return tagged.kind === "index" ? tagged.index.manifests.filter(isWanted) : [];
      });
    } catch (error) {
      // Of the registry, or of its last mirror where it isn't asked itself: the others may lack what it has.
      if (error instanceof RefusedError && error.status === 404) return [];
      throw error;
    }
  }

  /**
   * Puts a manifest under a tag or its digest. `heedsSubject` is false of a registry without the referrers API: there
   * whoever puts something with a subject keeps the index at the subject's tag.
   */
  async putManifest(
    tagOrDigest: string,
    mediaType: string,
    bytes: Uint8Array,
    waiting: Waiting,
  ): Promise<{ readonly digest: string; readonly heedsSubject: boolean }> {
    const { caller } = this;
    const url = this.#path(caller, `manifests/${tagOrDigest}`);
    const wish = { method: "PUT", url, headers: { "Content-Type": mediaType }, body: bytes } as const;
    const { body, headers } = await caller.call(wish, waiting);
    discard(body);
    const digest = toldDigest(headers["docker-content-digest"]) ?? sha256Of(bytes);
    if (hasDigest(bytes, digest)) return { digest, heedsSubject: headers["oci-subject"] !== undefined };
    throw new GantryError("internal", `cannot trust ${caller.endpoint.host}: it took a manifest as another, ${digest}`);
  }

  /** Removes a tag, or what a digest names with all tags of it; what refuses that says so in the registry's words. */
  async removeManifest(tagOrDigest: string, waiting: Waiting): Promise<void> {
    const { caller } = this;
    let isRepeated = false;
    const onWait: Waiting["onWait"] = (milliseconds, failure) => {
      isRepeated ||= !(failure instanceof RefusedError) || failure.status >= 500;
      waiting.onWait?.(milliseconds, failure);
    };
    try {
      const wish = { method: "DELETE", url: this.#path(caller, `manifests/${tagOrDigest}`) } as const;
      discard((await caller.call(wish, { ...waiting, onWait })).body);
    } catch (error) {
      // The try before, whose answer was lost, has removed it.
      const isGone = isRepeated && error instanceof RefusedError && error.status === 404;
      if (!isGone) throw error;
    }
  }

  async #manifestAt(caller: Caller, tagOrDigest: string, waiting: Waiting): Promise<ManifestDocument> {
    const url = this.#path(caller, `manifests/${tagOrDigest}`);
    const name = familiarString(this.reference);
    const wish = { method: "GET", url, headers: ACCEPT } as const;
    const { answer, bytes } = await caller.fetch(wish, `the manifest of ${name}`, waiting);
    const { headers } = answer;
    waiting.onManifest?.(headers);
    const expected = tagOrDigest.includes(":") ? tagOrDigest : toldDigest(headers["docker-content-digest"]);
    if (expected !== undefined) checkDigest(bytes, expected);
    return readManifest(bytes, headers["content-type"] ?? "", name);
  }

  /** Asks the endpoints in order until one answers well. Throws what the last of them says. */
  async #first<T>(ask: (caller: Caller) => Promise<T>): Promise<T> {
    let last: unknown;
    for (const caller of this.#ordered()) {
      try {
        const answer = await ask(caller);
        this.#reachability.answered(caller.endpoint);
        this.#settle(caller);
        return answer;
      } catch (error) {
        if (isKind(error, "cancelled")) throw error;
        if (error instanceof RefusedError) this.#settle(caller);
        if (error instanceof UnreachableError && error.kind === "internal") this.#reachability.failed(caller.endpoint);
        // A mirror may lack what the registry has; a registry that answered has said its word.
        else if (!caller.endpoint.isMirror) throw error;
        // It need not have everything.
        if (!(error instanceof RefusedError && error.status === 404))
          this.#reachability.passedOver(caller.endpoint, error);
        last = error;
      }
    }
    throw last;
  }

  /** The registry has answered with TLS, or without: the other way is not asked any more, whatever fails here. */
  #settle(caller: Caller): void {
    if (!caller.endpoint.isMirror)
      this.#callers = this.#callers.filter((one) => one === caller || one.endpoint.isMirror);
  }

  #ordered(): Caller[] {
    return this.#reachability.order(this.#callers);
  }

  #path({ endpoint }: Caller, rest: string): string {
    const path = `v2/${endpoint.prefix}${this.reference.path}/${rest}`;
    return endpoint.namespace === "" ? path : `${path}?ns=${encodeURIComponent(endpoint.namespace)}`;
  }

  #source(caller: Caller, digest: string): BlobSource {
    const url = this.#path(caller, `blobs/${digest}`);
    const open: BlobSource["open"] = (headers, waiting) =>
      this.#known(caller, digest, caller.call({ method: "GET", url, headers, tries: 1 }, waiting));
    return { name: nameOf(caller), isFinal: !caller.endpoint.isMirror, open };
  }

  async #known<T>({ endpoint }: Caller, digest: string, asked: Promise<T>): Promise<T> {
    try {
      return await asked;
    } catch (error) {
      if (!(error instanceof RefusedError) || error.status !== 404) throw error;
      throw error.worded(`unknown blob: ${endpoint.host} does not have ${digest}`);
    }
  }

  /** Where a foreign layer says that it lies: the registry's word, whichever mirror passes it on. */
  #foreign({ urls = [] }: Descriptor): BlobSource[] {
    const registry = this.#callers.find(({ endpoint }) => !endpoint.isMirror) ?? this.caller;
    return urls
      .slice(0, MOST_URLS)
      .filter((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol))
      .map((text) => ({
        name: text,
        isFinal: false,
        open: (headers, waiting) => registry.callElsewhere(new URL(text), headers, waiting),
      }));
  }
}

function nameOf({ endpoint }: Caller): string {
  return endpoint.isMirror ? endpoint.base + endpoint.prefix : endpoint.host;
}

/** Without the API its path is unknown, or no method of it is. */
function isMissing(error: unknown): boolean {
  return error instanceof RefusedError && [400, 404, 405, 501].includes(error.status);
}

function hasDigest(bytes: Uint8Array, expected: string): boolean {
  const digester = new Digester(parseDigest(expected).algorithm);
  digester.update(bytes);
  return digester.digest() === expected;
}

function failedVerification(digest: string, what = "filesystem layer"): GantryError {
  return new GantryError("internal", `${what} verification failed for digest ${digest}`);
}

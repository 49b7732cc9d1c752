import { GantryError } from "../base/errors.ts";
import { Digester, parseDigest } from "../oci/digest.ts";
import type { Descriptor } from "../oci/image.ts";
import { MAX_DOCUMENT } from "../oci/image-config.ts";
import { familiarString, type Reference } from "../oci/reference.ts";
import { readDocument, readPieces } from "./body.ts";
import type { Caller } from "./caller.ts";
import { ACCEPTED_MANIFESTS, checkDigest, type ManifestDocument, readManifest, toldDigest } from "./document.ts";
import { RefusedError } from "./failure.ts";
import type { TimeLimits, Waiting } from "./settings.ts";

const ACCEPT = { Accept: ACCEPTED_MANIFESTS };

/** The content of one name at one endpoint. */
export class Repository {
  readonly #caller: Caller;
  readonly #reference: Reference;
  readonly #limits: TimeLimits;

  constructor(caller: Caller, reference: Reference, limits: TimeLimits) {
    this.#caller = caller;
    this.#reference = reference;
    this.#limits = limits;
  }

  /**
   * What a tag or digest points to, without fetching it. A registry that doesn't answer HEAD as it should is asked
   * for the manifest itself.
   */
  async resolve(tagOrDigest: string, waiting: Waiting): Promise<Descriptor> {
    try {
      const path = this.#path("manifests", tagOrDigest);
      const { body, headers } = await this.#caller.call({ method: "HEAD", path, headers: ACCEPT }, waiting);
      body.resume();
      const digest = toldDigest(headers["docker-content-digest"]);
      const size = Number(headers["content-length"] ?? Number.NaN);
      const mediaType = headers["content-type"]?.split(";")[0]?.trim();
      if (digest !== undefined && mediaType && Number.isSafeInteger(size) && size <= MAX_DOCUMENT) {
        return { mediaType, digest, size };
      }
    } catch (error) {
      // The answer to HEAD says nothing but its status; GET's says why.
      if (!(error instanceof RefusedError) || error.status === 429) throw error;
    }
    return (await this.manifest(tagOrDigest, waiting)).descriptor;
  }

  /** The manifest or index of a tag or digest; by digest its bytes are checked against it. */
  async manifest(tagOrDigest: string, waiting: Waiting): Promise<ManifestDocument> {
    const path = this.#path("manifests", tagOrDigest);
    const { body, headers } = await this.#caller.call({ method: "GET", path, headers: ACCEPT }, waiting);
    const name = familiarString(this.#reference);
    const limit = { limit: MAX_DOCUMENT, timeMs: this.#limits.document, signal: waiting.signal };
    const bytes = await readDocument(body, `the manifest of ${name}`, limit);
    const expected = tagOrDigest.includes(":") ? tagOrDigest : toldDigest(headers["docker-content-digest"]);
    if (expected !== undefined) checkDigest(bytes, expected);
    return readManifest(bytes, headers["content-type"] ?? "", name);
  }

  /** A small blob, such as a config, checked. */
  async document(descriptor: Descriptor, waiting: Waiting): Promise<Buffer> {
    if (descriptor.size > MAX_DOCUMENT) {
      throw new GantryError("invalid", `cannot read ${descriptor.digest}: it is longer than ${MAX_DOCUMENT} bytes`);
    }
    const pieces: Buffer[] = [];
    for await (const piece of this.blob(descriptor, waiting)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  /**
   * A blob's bytes as they come. It fails at its end if they were others than the digest says, and at once if there
   * are more than its size.
   */
  async *blob(descriptor: Descriptor, waiting: Waiting): AsyncGenerator<Buffer> {
    const { digest, size } = descriptor;
    const digester = new Digester(parseDigest(digest).algorithm);
    const { body } = await this.#caller.call({ method: "GET", path: this.#path("blobs", digest) }, waiting);
    const wrong = () => new GantryError("internal", `filesystem layer verification failed for digest ${digest}`);
    for await (const piece of readPieces(body, digest, { idleMs: this.#limits.idle, signal: waiting.signal })) {
      digester.update(piece);
      if (digester.size > size) throw wrong();
      yield piece;
    }
    if (digester.size !== size || digester.digest() !== digest) throw wrong();
  }

  #path(what: "manifests" | "blobs", id: string): string {
    return `v2/${this.#reference.path}/${what}/${id}`;
  }
}

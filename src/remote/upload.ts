import { throwIfAborted, untilAborted } from "../base/abort.ts";
import { Breath } from "../base/breath.ts";
import { GantryError } from "../base/errors.ts";
import { discard } from "./body.ts";
import { RefusedError, UnreachableError } from "./failure.ts";
import type { Repository } from "./repository.ts";
import { Retries } from "./retry.ts";
import type { BodySource } from "./send-body.ts";
import type { Waiting } from "./settings.ts";
import type { Answer } from "./transport.ts";

/** A blob as its sender has it. */
export interface UploadSource {
  /** Bytes; undefined where only the end will tell. */
  readonly size: number | undefined;
  /**
   * The blob from a byte on. It is opened again where bytes were lost on the way, and has the same bytes then; whoever
   * reads it may stop at any byte.
   */
  open(offset: number): AsyncIterable<Uint8Array>;
  /** The blob's digest; asked where the size is known, or else when all of it was read. */
  digest(): string;
}

export interface UploadOptions extends Waiting {
  /** The blob's digest and the path of a repository at the same registry that is asked to lend it. */
  readonly mount?: { readonly digest: string; readonly from: string } | undefined;
  /** Bytes of the blob that were handed to the connection; fewer than before where some are sent again. */
  readonly onProgress?: (sent: number) => void;
}

/** What the registry has now. `isMounted` is true if it took the blob from the other repository: nothing was sent. */
export interface Uploaded {
  readonly digest: string;
  readonly isMounted: boolean;
}

/** Tries in a row that bring the registry nothing new. */
const MOST_TRIES = 5;
/** Times that a registry may lose an upload before it is given up. */
const MOST_LOSSES = 3;
/** Bytes of a chunk, the most of one that is held in memory, and what is tried where a body is refused as too long. */
const CHUNK = 8 << 20;
const LARGEST_HELD = 64 << 20;
const SMALLER: readonly number[] = [CHUNK, 1 << 20];
const CANCEL_MS = 3_000;
const BYTES = { "Content-Type": "application/octet-stream" };

/** An upload as the registry knows it (distribution spec, "Pushing blobs"). */
interface Session {
  readonly location: URL;
  /** Bytes that the registry has. */
  readonly offset: number;
  /** It takes no chunk that is smaller, but for the last; undefined where it doesn't say. */
  readonly minChunk: number | undefined;
  /** True after a connection was cut. */
  readonly isResumed: boolean;
}

/**
 * Sends a blob that the registry hasn't. What a cut connection left there is gone on from; an upload that fails or is
 * given up is deleted there. Throws the registry's refusal, or why it couldn't be reached.
 */
export async function uploadBlob(
  repository: Repository,
  source: UploadSource,
  options: UploadOptions = {},
): Promise<Uploaded> {
  const upload = new BlobUpload(repository, source, options);
  try {
    return await upload.run();
  } catch (error) {
    await upload.cancel();
    throwIfAborted(options.signal);
    throw error;
  }
}

class BlobUpload {
  readonly #repository: Repository;
  readonly #source: UploadSource;
  readonly #options: UploadOptions;
  #session: Session | undefined;
  #opening: Promise<Answer> | undefined;
  readonly #leaving = new AbortController();
  #hasBegun = false;
  #losses = 0;
  /** Set once the registry was asked to take the upload for whole: it may have done so, though its answer was lost. */
  #ended: string | undefined;
  /** Bytes that were read of the source at most: a registry can't have more. */
  #read = 0;
  /** Set where the registry wants chunks. */
  #chunk: number | undefined;

  constructor(repository: Repository, source: UploadSource, options: UploadOptions) {
    this.#repository = repository;
    this.#source = source;
    this.#options = options;
  }

  async run(): Promise<Uploaded> {
    const retries = new Retries(MOST_TRIES, this.#repository.caller.limits, this.#options);
    let reached = 0;
    for (;;) {
      try {
        if (this.#session !== undefined) await this.#resume();
        if (this.#session !== undefined && this.#session.offset > reached) {
          reached = this.#session.offset;
          retries.reset();
        }
        if (this.#session === undefined) {
          const ended = this.#ended;
          if (ended !== undefined && (await this.#isThere(ended))) return { digest: ended, isMounted: false };
          const digest = await this.#begin();
          if (digest !== undefined) return { digest, isMounted: true };
        }
        const digest = await this.#send();
        this.#session = undefined;
        return { digest, isMounted: false };
      } catch (error) {
        if (this.#asksForChunks(error) || this.#hasForgotten(error)) continue;
        await retries.after(error);
      }
    }
  }

  /** Deletes what the registry has of an upload that won't be finished. Never rejects. */
  async cancel(): Promise<void> {
    const session = this.#session ?? (await this.#opened());
    this.#session = undefined;
    if (session === undefined) return;
    const signal = AbortSignal.timeout(CANCEL_MS);
    try {
      const wish = { method: "DELETE", url: session.location, tries: 1 } as const;
      discard((await this.#repository.caller.call(wish, { signal })).body);
    } catch {
      // It expires there by itself.
    }
  }

  /** Opens an upload, or borrows the blob of another repository: resolves with its digest then. */
  async #begin(): Promise<string | undefined> {
    const mount = this.#hasBegun ? undefined : this.#options.mount;
    this.#hasBegun = true;
    if (mount !== undefined) {
      const { digest, from } = mount;
      try {
        const answer = await this.#open(`?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`);
        if (answer.status === 201) return digest;
        this.#session = this.#sessionOf(answer, 0);
        return undefined;
      } catch (error) {
        // Who may not read the other repository may still write this one.
        if (!(error instanceof RefusedError) || error.status === 429 || error.status >= 500) throw error;
      }
    }
    this.#session = this.#sessionOf(await this.#open(""), 0);
    return undefined;
  }

  async #open(query: string): Promise<Answer> {
    const { signal, onWait } = this.#options;
    const url = this.#repository.path(`blobs/uploads/${query}`);
    // Not ended by the caller's signal: what the registry opened unheard could not be deleted there.
    const asked = this.#repository.caller.call(
      { method: "POST", url, tries: 1 },
      { signal: this.#leaving.signal, onWait },
    );
    this.#opening = asked;
    const answer = await untilAborted(asked, signal);
    this.#opening = undefined;
    discard(answer.body);
    return answer;
  }

  /** The upload that was being opened when its caller left. */
  async #opened(): Promise<Session | undefined> {
    if (this.#opening === undefined) return undefined;
    const timer = setTimeout(() => this.#leaving.abort(), CANCEL_MS);
    try {
      const answer = await this.#opening;
      discard(answer.body);
      return answer.status === 202 ? this.#sessionOf(answer, 0) : undefined;
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks what the registry has of the upload. One that it doesn't know any more is given up, to be begun anew. */
  async #resume(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    let answer: Answer;
    try {
      answer = await this.#repository.caller.call({ method: "GET", url: session.location, tries: 1 }, this.#options);
    } catch (error) {
      if (!(error instanceof RefusedError) || error.status === 429 || error.status >= 500) throw error;
      await this.cancel();
      return;
    }
    discard(answer.body);
    const offset = endOf(answer.headers.range);
    // "0-0" is what both nothing and one byte look like.
    if (offset === undefined || offset > this.#read || offset === 1) {
      await this.cancel();
      return;
    }
    this.#session = { ...this.#sessionOf(answer, offset, session), isResumed: true };
  }

  async #isThere(digest: string): Promise<boolean> {
    return (await this.#repository.hasBlob(digest, this.#options)) !== undefined;
  }

  /** True for an upload that the registry has lost, in whole or in part: it is looked at again, or begun anew. */
  #hasForgotten(error: unknown): boolean {
    if (!(error instanceof RefusedError) || this.#session === undefined) return false;
    const isLost = error.status === 404 || error.status === 416 || /^BLOB_UPLOAD_/.test(error.code);
    // Bytes that were gone on from may have been others than were sent.
    const isSpoilt = error.code === "DIGEST_INVALID" && this.#session.isResumed;
    if (!(isLost || isSpoilt) || ++this.#losses > MOST_LOSSES) return false;
    if (isSpoilt) this.#session = undefined;
    return true;
  }

  /** True if the next try is to be by chunks, or by smaller ones. */
  #asksForChunks(error: unknown): boolean {
    if (!(error instanceof RefusedError) || (error.status !== 413 && error.status !== 411)) return false;
    const largest = this.#chunk ?? this.#source.size ?? Number.POSITIVE_INFINITY;
    const next = SMALLER.find((size) => size < largest);
    if (next !== undefined && (error.status === 413 || this.#chunk === undefined)) {
      this.#chunk = next;
      return true;
    }
    if (error.status === 411) return false;
    throw error.worded(
      `cannot push to ${this.#repository.reference.domain}: it or a proxy before it refuses a body of ` +
        `${Number.isFinite(largest) ? largest : "any number of"} bytes as too large (413): its limit has to be raised`,
    );
  }

  /** Resolves with the digest when the registry has the whole blob. */
  async #send(): Promise<string> {
    const { size } = this.#source;
    const { minChunk } = this.#session!;
    const chunk = this.#chunk ?? (minChunk === undefined ? undefined : Math.max(minChunk, CHUNK));
    if (size !== undefined) return this.#sendKnown(size, chunk ?? size);
    if (chunk !== undefined && chunk <= LARGEST_HELD) return this.#sendHeld(chunk);
    // One request without a length.
    const { offset } = this.#session!;
    await this.#patch(() => this.#counted(offset), undefined);
    return this.#finish(0);
  }

  /** Chunks of a blob of known size, as they are read; the last, or the whole, comes with the end. */
  async #sendKnown(size: number, chunk: number): Promise<string> {
    while (size - this.#session!.offset > chunk) {
      const { offset } = this.#session!;
      await this.#patch(() => firstOf(this.#counted(offset), chunk), chunk);
    }
    const { offset } = this.#session!;
    return this.#finish(size - offset, () => this.#counted(offset));
  }

  /** Chunks of a blob of unknown size: each is held until the registry has it. */
  async #sendHeld(chunk: number): Promise<string> {
    const { offset } = this.#session!;
    let held: Uint8Array[] = [];
    let length = 0;
    for await (const piece of this.#counted(offset)) {
      held.push(piece);
      length += piece.length;
      // One byte more than a chunk: what is left in the end is sent with it, and is not nothing.
      while (length > chunk) {
        const bytes = Buffer.concat(held, length);
        await this.#patch(() => iterated(bytes.subarray(0, chunk)), chunk);
        held = [bytes.subarray(chunk)];
        length -= chunk;
      }
    }
    const rest = Buffer.concat(held, length);
    return this.#finish(length, () => iterated(rest));
  }

  async #patch(body: BodySource, length: number | undefined): Promise<void> {
    const session = this.#session!;
    const { offset, location } = session;
    const headers = {
      ...BYTES,
      ...(length !== undefined && {
        "Content-Length": String(length),
        "Content-Range": `${offset}-${offset + length - 1}`,
      }),
    };
    const answer = await this.#repository.caller.call({ method: "PATCH", url: location, headers, body }, this.#options);
    discard(answer.body);
    const expected = length === undefined ? this.#read : offset + length;
    const told = endOf(answer.headers.range);
    this.#session = this.#sessionOf(answer, expected, session);
    if (told !== undefined && told !== expected && expected > 1) {
      throw new UnreachableError(`the registry has ${told} bytes of an upload of ${expected}`, { isPassing: true });
    }
  }

  /** Ends the upload with its last bytes. */
  async #finish(length: number, rest?: BodySource): Promise<string> {
    const { location, offset } = this.#session!;
    const digest = this.#source.digest();
    this.#ended = digest;
    const url = new URL(location);
    // Not by way of its parameters: what the registry wrote there is sent back letter by letter.
    url.search = `${url.search === "" ? "?" : `${url.search}&`}digest=${encodeURIComponent(digest)}`;
    const headers = {
      ...BYTES,
      "Content-Length": String(length),
      ...(offset > 0 && length > 0 && { "Content-Range": `${offset}-${offset + length - 1}` }),
    };
    const body = length === 0 ? undefined : rest;
    // Sent twice, an end without a body could only be told that there is no such upload any more.
    const answer = await this.#repository.caller.call({ method: "PUT", url, headers, body, tries: 1 }, this.#options);
    discard(answer.body);
    const told = answer.headers["docker-content-digest"];
    if (typeof told === "string" && told !== digest) {
      throw new GantryError("internal", `the registry says that ${digest} has the digest ${told.slice(0, 200)}`);
    }
    return digest;
  }

  async *#counted(offset: number): AsyncGenerator<Uint8Array> {
    let at = offset;
    // What comes and goes at once, as between two registries of this machine, never waits.
    const breath = new Breath();
    for await (const piece of this.#source.open(offset)) {
      await breath.take();
      throwIfAborted(this.#options.signal);
      at += piece.length;
      this.#read = Math.max(this.#read, at);
      yield piece;
      this.#options.onProgress?.(at);
    }
  }

  #sessionOf(answer: Answer, offset: number, before?: Session): Session {
    const told = answer.headers.location;
    const location =
      told === undefined && before !== undefined ? before.location : this.#locationOf(answer, told ?? "");
    const least = answer.headers["oci-chunk-min-length"];
    const minChunk = typeof least === "string" && /^\d{1,12}$/.test(least) ? Number(least) : before?.minChunk;
    return { location, offset, minChunk, isResumed: before?.isResumed ?? false };
  }

  #locationOf({ url }: Answer, text: string): URL {
    const location = text !== "" && URL.canParse(text, url.href) ? new URL(text, url) : undefined;
    if (location === undefined || !/^https?:$/.test(location.protocol)) {
      throw new GantryError("internal", `cannot push to ${url.host}: it names no place to upload to`);
    }
    if (url.protocol !== "https:" || location.protocol === "https:" || !this.#repository.endpoint.verify) {
      return location;
    }
    // A registry behind a proxy that speaks TLS for it may not know that it is reached by https.
    if (location.hostname !== url.hostname) {
      const why = "it sends uploads from https to http, which anybody on the way could read";
      throw new GantryError("forbidden", `cannot push to ${url.host}: ${why} (${location.host})`);
    }
    location.protocol = "https:";
    location.host = url.host;
    return location;
  }
}

/** `0-1023`, with or without `bytes=`: 1024. */
function endOf(range: string | string[] | undefined): number | undefined {
  const end = typeof range === "string" ? /^(?:bytes[= ])?0-(\d{1,15})$/.exec(range.trim())?.[1] : undefined;
  return end === undefined ? undefined : Number(end) + 1;
}

async function* iterated(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function* firstOf(pieces: AsyncIterable<Uint8Array>, length: number): AsyncGenerator<Uint8Array> {
  let left = length;
  for await (const piece of pieces) {
    yield left < piece.length ? piece.subarray(0, left) : piece;
    left -= piece.length;
    if (left <= 0) return;
  }
  throw new GantryError("internal", `a blob has ${left} bytes less than it should have`);
}

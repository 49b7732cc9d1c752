import { GantryError, isKind } from "../base/errors.ts";
import type { Descriptor } from "../oci/image.ts";
import { readPieces } from "./body.ts";
import { RefusedError, UnreachableError } from "./failure.ts";
import type { RateCeiling } from "./rate-ceiling.ts";
import { RateFloor, TooSlowError } from "./rate-floor.ts";
import { Retries } from "./retry.ts";
import type { TimeLimits, Waiting } from "./settings.ts";
import type { Answer } from "./transport.ts";

/** One place that has a blob: the registry, a mirror, the address of a foreign layer. */
export interface BlobSource {
  /** Tells sources of one blob apart. */
  readonly name: string;
  /** True of the registry itself: what it refuses is not asked for elsewhere. */
  readonly isFinal: boolean;
  open(headers: Readonly<Record<string, string>>, waiting: Waiting): Promise<Answer>;
}

/** The part [offset, end) of a blob. */
export interface BlobPart {
  readonly offset: number;
  readonly end: number;
  /** Refuse with `unsupported` who sends all where a part is asked for. */
  readonly isStrict?: boolean;
}

/**
 * A blob's bytes from `offset` on, from the first source that gives any: where one is cut it goes on by a range, at
 * the same source as long as that brings something, then at the next; at the last it waits and tries again, up to
 * `attempts` times in a row without a new byte. What a source sends twice is passed over. Not verified: only more
 * bytes than the descriptor's size, or another length told beforehand, fail here.
 */
export async function* readBlob(
  descriptor: Descriptor,
  { offset, end, isStrict = false }: BlobPart,
  from: {
    readonly sources: readonly BlobSource[];
    readonly attempts: number;
    /** Bytes a second; 0 for none. */
    readonly leastRate: number;
    readonly ceiling?: RateCeiling;
    readonly limits: TimeLimits;
    /** Called with the source that bytes come from. */
    readonly onServed: (source: BlobSource) => void;
  },
  waiting: Waiting,
): AsyncGenerator<Buffer> {
  const { limits } = from;
  const { digest, size } = descriptor;
  let sources = from.sources;
  // The registry is asked with and without TLS until it has answered one way.
  const settle = (on: BlobSource): void => {
    if (on.isFinal) sources = sources.filter((one) => one === on || !one.isFinal);
  };
  const retries = new Retries(from.attempts, limits, waiting, { isPatient: true });
  const rate = new RateFloor(from.leastRate, limits, digest);
  let at = offset;
  let asksRanges = true;
  while (at < end) {
    const [source] = sources;
    if (source === undefined) throw new GantryError("not-found", `cannot fetch ${digest}: nothing is known to have it`);
    const before = at;
    try {
      const isPart = (at > 0 || end < size) && asksRanges;
      const until = end < size ? String(end - 1) : "";
      const answer = await source.open(isPart ? { Range: `bytes=${at}-${until}` } : {}, waiting);
      settle(source);
      if (isStrict && isPart && answer.status !== 206) {
        answer.body.destroy();
        throw new GantryError("unsupported", `cannot read a part of ${digest}: all of it came`);
      }
      let passed = at - startOf(answer, descriptor, at);
      from.onServed(source);
      for await (const piece of readPieces(answer.body, digest, { idleMs: limits.idle, signal: waiting.signal })) {
        rate.took(piece.length);
        rate.pause();
        await from.ceiling?.pass(piece.length, waiting.signal);
        rate.resume();
        const fresh = passed === 0 ? piece : piece.subarray(passed);
        passed -= piece.length - fresh.length;
        if (fresh.length === 0) continue;
        // More came than the part that was asked for.
        if (at >= end) break;
        at += fresh.length;
        if (at > size) throw failedVerification(digest, `more than ${size} bytes came`);
        rate.pause();
        yield at > end ? fresh.subarray(0, fresh.length - (at - end)) : fresh;
        rate.resume();
      }
      if (at < end) throw new UnreachableError(`cannot read ${digest}: unexpected EOF`, { kind: "unavailable" });
    } catch (error) {
      if (isKind(error, "cancelled") || (isStrict && isKind(error, "unsupported"))) throw error;
      if (at > before) retries.reset();
      if (error instanceof RefusedError) settle(source);
      if (isPartRefusal(error) && asksRanges && !isStrict) {
        asksRanges = false;
      } else if (sources.length > 1 && (at === before || error instanceof TooSlowError)) {
        sources = sources.slice(1);
        asksRanges = true;
      } else if (error instanceof RefusedError) {
        // It is the registry's wish that nothing comes for a while.
        rate.pause();
        await retries.after(error);
        rate.resume();
      } else await retries.after(error);
    }
  }
}

/** Another part of a blob than was asked for. */
class OtherRangeError extends GantryError {}

function isPartRefusal(error: unknown): boolean {
  return error instanceof OtherRangeError || (error instanceof RefusedError && error.status === 416);
}

/** Where an answer's bytes begin in the blob, at most at `at`; throws and lets go of it if they are no part of it. */
function startOf({ status, headers, body }: Answer, { digest, size }: Descriptor, at: number): number {
  try {
    const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
    const coding = headers["content-encoding"]?.trim().toLowerCase() ?? "";
    // Stores that serve a compressed layer under its own name say so of its bytes; their count tells which they mean.
    if (coding !== "" && coding !== "identity" && length === undefined) {
      throw new GantryError("unsupported", `cannot read ${digest}: it was sent as ${coding.slice(0, 40)}, unasked`);
    }
    if (status !== 206) {
      if (length === undefined || length === size) return 0;
      throw failedVerification(digest, `it has ${length} bytes where ${size} were told`);
    }
    const [, first, total] = /^bytes (\d{1,16})-\d{1,16}\/(\d{1,16}|\*)$/.exec(headers["content-range"] ?? "") ?? [];
    if (total !== undefined && total !== "*" && Number(total) !== size) {
      throw failedVerification(digest, `it has ${total} bytes where ${size} were told`);
    }
    const start = Number(first ?? Number.NaN);
    if (!(start <= at))
      throw new OtherRangeError("unavailable", `cannot read ${digest}: another range came than was asked`);
    return start;
  } catch (error) {
    body.destroy();
    throw error;
  }
}

function failedVerification(digest: string, why: string): GantryError {
  return new GantryError("internal", `filesystem layer verification failed for digest ${digest}: ${why}`);
}

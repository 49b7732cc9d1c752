import type { Failure } from "../../base/failure.ts";
import type { FromThread, ToThread } from "../../base/threads.ts";
import type { Extracted, WhiteoutKind } from "../../snapshots/snapshotter.ts";
import type { ThreadPart } from "../layer-time.ts";

/** A layer's blob that is read from a file while it grows: hashed, and unless it is only to be verified, extracted. */
export interface UnpackOrder {
  readonly path: string;
  /** What the blob should be: names it in refusals, and says which digest is asked for. */
  readonly digest: string;
  /** Bytes the whole blob has. */
  readonly size: number;
  readonly diffId: string;
  /** Where its files go; undefined leaves it at the digests. */
  readonly target: { readonly folder: string; readonly whiteouts: WhiteoutKind } | undefined;
  /** Times its size that the blob may expand to; a gigabyte in any case. */
  readonly maxRatio: number;
  /** The blob's digest was verified when it was stored: only the diff id is. */
  readonly isVerified: boolean;
}

/** What a layer's blob turned out to be. */
export interface Unpacked extends Extracted {
  /** Of the bytes of the blob; what was asked for if it `isVerified`. */
  readonly digest: string;
  /** Of what it expands to; undefined if it does not expand. */
  readonly diffId: string | undefined;
  /** Why it can't be a layer: to be believed only if the digest is the right one. */
  readonly refusal: Failure | undefined;
  /** Bytes that it expanded to. */
  readonly expanded: number;
  /** Milliseconds of each part of its thread's time, from the order on. */
  readonly time: Readonly<Record<ThreadPart, number>>;
}

/** What a job that runs may be told: so many bytes of the file are there. */
export type UnpackWord = { readonly do: "read"; readonly available: number } | { readonly do: "abort" };

/** What it tells before its end: bytes of the file that it has read, or processor time that its thread has used. */
export type UnpackNews = { readonly read: number } | { readonly cpuMs: number };

export type ToWorker = ToThread<UnpackOrder, UnpackWord>;
/** A failure, also after an abort, leaves nothing in the target. */
export type FromWorker = FromThread<Unpacked, UnpackNews>;

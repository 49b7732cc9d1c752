import type { ErrorKind } from "../base/errors.ts";
import type { Descriptor } from "../oci/image.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { RemoteSettings } from "../remote/settings.ts";

/** What it is called under the exec root: lazy.sock, lazy.lock, lazy.log; its mount is the folder `lazy`. */
export const LAZY_NAME = "lazy";

/** A layer whose files are to be served before it is whole. */
export interface LayerOrder {
  /** Chain id. */
  readonly id: string;
  readonly blob: Descriptor;
  /** The name to fetch it by, in its normal form. */
  readonly reference: string;
  /** Kept in memory only. */
  readonly credentials: Credentials;
  readonly settings: RemoteSettings;
  readonly defaultDomain: string;
  /** For the table of contents and for what was fetched; the helper makes it. */
  readonly folder: string;
  /** Where the blob is once it is whole, and where it grows. */
  readonly blobPath: string;
  readonly partialPath: string;
}

/** A layer that is served, in the folder of this number. */
export interface ServedOrder {
  readonly number: number;
  readonly order: LayerOrder;
}

export interface ServedRow extends ServedOrder {
  /** Bytes of its files. */
  readonly size: number;
  readonly hasRoot: boolean;
}

export type ToKeeper =
  /** Told first by an engine: its main thread is never kept waiting for the network. */
  | { readonly op: "hello"; readonly request: number; readonly pid: number }
  /** With the descriptor of the file system, opened and mounted by the engine. */
  | { readonly op: "mounted"; readonly request: number }
  | { readonly op: "serve"; readonly request: number; readonly order: LayerOrder }
  | { readonly op: "release"; readonly request: number; readonly id: string }
  | { readonly op: "shutdown" };

export interface HelloAnswer {
  readonly isMounted: boolean;
  readonly served: readonly ServedLayer[];
}

export interface ServedLayer {
  readonly id: string;
  readonly blob: Descriptor;
  readonly number: number;
  /** Bytes of its files. */
  readonly size: number;
  /** The layer says itself how its root looks. */
  readonly hasRoot: boolean;
  readonly reference: string;
  readonly credentials: Credentials;
}

export type FromKeeper =
  | { readonly reply: number; readonly value: unknown }
  | { readonly reply: number; readonly error: { readonly kind: ErrorKind; readonly message: string } }
  | LazyEvent;

export type LazyEvent =
  /** Something had to be fetched, because somebody reads it. */
  | { readonly event: "fetched"; readonly id: string }
  | { readonly event: "failed"; readonly id: string; readonly message: string }
  | { readonly event: "restarted" };

export type ToServer =
  /** Pids of the engines that are there: their main threads aren't kept waiting. */
  | { readonly op: "engines"; readonly pids: readonly number[] }
  /** `known` of a layer that an earlier server had. */
  | { readonly op: "serve"; readonly request: number; readonly served: ServedOrder; readonly known?: ServedRow }
  | { readonly op: "release"; readonly request: number; readonly number: number }
  /** All layers are there: requests are read from now on; those that an earlier server took are asked for again. */
  | { readonly op: "begin"; readonly resend: boolean }
  | { readonly op: "shutdown" };

export type FromServer =
  | { readonly reply: number; readonly size: number; readonly hasRoot: boolean }
  | { readonly reply: number; readonly error: { readonly kind: ErrorKind; readonly message: string } }
  /** To a keeper that takes the place of one that died. */
  | { readonly event: "table"; readonly rows: readonly ServedRow[] }
  /** Told last: somebody took the file system away, and with it all that was served. */
  | { readonly event: "unmounted" }
  | Exclude<LazyEvent, { event: "restarted" }>;

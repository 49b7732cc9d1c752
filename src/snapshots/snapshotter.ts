import type { Readable } from "node:stream";
import type { PathChange } from "./changes.ts";
import type { PackSource } from "./pack-source.ts";

export type { PathChange } from "./changes.ts";

/**
 * Root filesystems as a tree of snapshots, in containerd's words. A committed snapshot has a *name* (its chain id,
 * `sha256:…`) and never changes; an active one has a *key* and can be written to; both may have a parent, which is
 * always committed. A name or key that exists already, or a parent that doesn't, is refused (conflict, not-found).
 *
 * Life cycle: `prepare(key, parent)` → mount → write → unmount → `commit(name, key)`, or `remove(key)`.
 * `apply` is all of that for a layer archive. A committed snapshot with children cannot be removed (conflict).
 * After a crash at any instant `recover()` removes what is neither committed nor in `liveKeys`.
 */
export interface Snapshotter {
  /** `overlay2` or `vfs`: what the API calls the storage driver. */
  readonly driver: "overlay2" | "vfs";

  has(nameOrKey: string): boolean;
  info(nameOrKey: string): SnapshotInfo | undefined;
  list(): SnapshotInfo[];
  /** Whether a committed snapshot and all below it have their files; not whether these are what they were. */
  isIntact(name: string): boolean;

  /**
   * Makes an active snapshot over a committed parent, or over nothing. Unless it is `bare`, for what is to become a layer
   * and is never mounted, it shows a container's mount points where the parent has none; they are none of its changes.
   */
  prepare(key: string, parent: string | undefined, options?: { readonly bare?: boolean }): Promise<void>;

  /**
   * Mounts an active snapshot (read-write) or a committed one (read-only) at an existing folder. Idempotent. An active
   * one may be mounted at several places: what is written at one is seen at the others.
   */
  mount(nameOrKey: string, target: string, options?: MountOptions): Promise<void>;
  /** Ends a mount made by `mount`; no error if there is none. */
  unmount(target: string): Promise<void>;

  /**
   * Lets a folder stand for a committed snapshot that is to come: active ones may have it as their parent and are
   * mounted over it. It is no snapshot; one of that name takes its place at the next mount. `unsupported` on vfs.
   */
  lend(name: string, loan: SnapshotLoan): Disposable;

  /**
   * With `durable: false` at once: a power loss may leave it with files that aren't whole, until `sync` has resolved.
   * For names that count only by a record which is written after that.
   */
  commit(name: string, key: string, options?: { readonly durable?: boolean }): Promise<void>;

  /**
   * Gives a committed snapshot another name, on the disk when this resolves; its children stand on it as before. Who
   * began something on the former name meanwhile comes to its end all the same.
   */
  rename(name: string, to: string): Promise<void>;

  /**
   * Makes what the committed snapshot `source` adds to its parent the snapshot `name` over another parent, the files
   * shared with it where that can be done. What stands on nothing hides nothing: it is laid over, folders merged. The
   * caller keeps `source` meanwhile.
   */
  rebase(source: string, name: string, parent: string | undefined, options?: ApplyOptions): Promise<void>;

  /** It does not exist any more when the call returns; its files go after `after`, or at once. */
  remove(nameOrKey: string, options?: { readonly after?: Promise<void> }): Promise<void>;

  /**
   * Extracts one layer (an uncompressed tar stream) over `parent` and commits it as `name`. Hostile archives are
   * refused with `invalid` and leave nothing. Resolves with the bytes of the files written. If `name` exists already
   * the stream is drained and nothing is done.
   */
  apply(name: string, parent: string | undefined, layer: Readable, options?: ApplyOptions): Promise<{ size: number }>;

  /**
   * Extracts one layer into an active snapshot and leaves it active: the step of `apply` that a layer needs whose
   * name is known only when its stream has ended. After a failure the caller removes the key.
   */
  extract(key: string, layer: Readable, options?: ApplyOptions): Promise<{ size: number }>;

  /**
   * Whether a layer's files don't depend on those below it: then layers are extracted in any order, and a parent need
   * be there only when its child is committed.
   */
  readonly extractsAlone: boolean;

  /**
   * A folder for a layer that another thread extracts (layer-writer.ts). It is no snapshot until it is committed: a
   * crash leaves nothing of it. `parent` is needed, and the same as at the commit, unless `extractsAlone`.
   */
  draft(parent: string | undefined): Promise<LayerDraft>;

  /** All that was written so far is on the disk when this resolves. Who asks while others wait shares their sync. */
  sync(): Promise<void>;

  /** The changes of an active or committed snapshot against its parent, as an OCI layer tar (with whiteouts). */
  diff(nameOrKey: string): AsyncIterable<Uint8Array>;

  /** The same for another thread (pack-source.ts). */
  packing(nameOrKey: string): SnapshotPacking;

  /** What became of which path since the parent: sorted by folder, for people. */
  changes(nameOrKey: string): AsyncIterable<PathChange>;

  /** Bytes on disk of this snapshot alone: what it adds to its parent. */
  usage(nameOrKey: string): Promise<number>;

  /** What inspect shows under GraphDriver.Data. */
  describe(nameOrKey: string): Record<string, string>;

  recover(liveKeys: ReadonlySet<string>): Promise<void>;
}

export interface MountOptions {
  readonly readonly?: boolean;
  /** Nothing that is written need outlive a power loss: an fsync inside does nothing, and unmounting writes nothing. */
  readonly volatile?: boolean;
  /** Without a container's mount points, for what was prepared so. */
  readonly bare?: boolean;
}

export interface SnapshotLoan {
  /** The layer's files, with overlayfs's marks. */
  readonly fs: string;
  /** Committed, or lent as well. */
  readonly parent: string | undefined;
  /** The layer says itself how its root looks; else it looks as the parent's does. */
  readonly hasRoot: boolean;
  /** Why nothing that stands on it can be mounted. */
  readonly refusal?: string | undefined;
}

export interface LayerDraft {
  /** Where the files go. */
  readonly folder: string;
  readonly whiteouts: WhiteoutKind;
  /**
   * Makes it the committed snapshot `name`, after `sync`; the draft has ended. If there is a snapshot of this name the
   * draft is discarded instead.
   */
  commit(name: string, parent: string | undefined, extracted: Extracted): Promise<void>;
  /** Removes what was extracted. No error after an end. */
  discard(): Promise<void>;
}

/** A snapshot that another thread packs. It has to stay meanwhile, by whatever name. */
export interface SnapshotPacking {
  readonly source: PackSource;
  /** What the bytes of its regular files were found to be; kept of what is committed. */
  measured(size: number): void;
}

/** How deletions are put on disk: as overlayfs's marks, or by deleting from a copy of the parent. */
export type WhiteoutKind = "marks" | "deletions";

export interface Extracted {
  /** Bytes of the files written. */
  readonly size: number;
  /** The layer says itself how its root looks; else it looks as the parent's does. */
  readonly hasRoot: boolean;
}

export interface SnapshotInfo {
  readonly id: string;
  readonly kind: "active" | "committed";
  readonly parent: string | undefined;
}

export interface ApplyOptions {
  readonly signal?: AbortSignal;
  /** Bytes of the tar read so far. */
  readonly onProgress?: (bytes: number) => void;
}

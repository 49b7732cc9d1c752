/** A root filesystem that never changes, held for as long as somebody has it. */
export interface Root extends AsyncDisposable {
  /**
   * The committed snapshot: its name now. It may get another one (its chain id, when it becomes part of an image), so
   * it is read where it is used. undefined: an empty root, or a folder.
   */
  readonly snapshot: string | undefined;
  /** A plain folder: a context, a repository, a file that was fetched. */
  readonly folder?: string;
  /** From the lowest to the topmost; empty for folders. */
  readonly layers: readonly RootLayer[];
  /** True while it has other holders; where nobody asks it isn't said. */
  readonly isShared?: boolean;
  /** Another holder of the same. */
  share(): Root;
  /** Where it can be read, until that is disposed of. Never written to. */
  open(): Promise<OpenRoot>;
  /** Digests of contents that are known already, for folders that keep an index. */
  readonly index?: ContentIndex;
}

export interface OpenRoot extends AsyncDisposable {
  readonly path: string;
}

export interface RootLayer {
  /** Of a layer that an image has or had. */
  readonly diffId?: string;
  readonly snapshot: string;
}

/** What is known of the files of a folder without reading them again. */
export interface ContentIndex {
  /** `sha256:…` of a regular file's bytes, by its path relative to the folder; undefined if it isn't known. */
  digest(path: string): string | undefined;
  /** False if there are files whose digest isn't known: they are to be read where that holds up nobody. */
  readonly isComplete?: boolean;
  /** True of what has no extended attributes, as is known without asking for them. */
  isPlain?(path: string): boolean;
  /**
   * A digest of all that is in a folder ("" is the whole one) but its times, without a look at the files; undefined if
   * there are fewer than `least` things, or not all is known of them.
   */
  contents?(folder: string, least: number): Promise<string | undefined>;
}

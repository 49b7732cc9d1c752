import type { PackSource } from "../../snapshots/pack-source.ts";
import type { Extracted, WhiteoutKind } from "../../snapshots/snapshotter.ts";

/** A snapshot's layer is written to a file. */
export interface PackOrder {
  readonly job: "pack";
  readonly source: PackSource;
  /** An empty file. */
  readonly to: string;
}

/** A layer is extracted from a file that grows; one that does not come to its end leaves nothing in its folder. */
export interface LayOrder {
  readonly job: "lay";
  readonly from: string;
  readonly folder: string;
  readonly whiteouts: WhiteoutKind;
}

export type PackingOrder = PackOrder | LayOrder;

export interface Packed {
  readonly job: "pack";
  /** Of the layer's tar. */
  readonly digest: string;
  readonly size: number;
  /** Bytes of its regular files, hard links counted once. */
  readonly filesSize: number;
}

export interface Laid extends Extracted {
  readonly job: "lay";
}

/** What runs may be told: so much of the file is there. */
export type PackingWord =
  | { readonly do: "grow"; readonly size: number; readonly isWhole: boolean }
  | { readonly do: "abort" };

/** What it tells before its end: so much of the file is there. */
export interface PackingNews {
  readonly written: number;
}

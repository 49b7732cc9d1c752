import type { ImageConfig, Platform } from "../oci/image.ts";
import type { GitOperation, HttpOperation } from "./graph.ts";

/** A source that somebody asks about. */
export type AskedSource =
  | { readonly kind: "image"; readonly reference: string; readonly platform: Platform; readonly pull: boolean }
  /** `<store>@<digest>`, of a layout of the client's. */
  | { readonly kind: "layout"; readonly reference: string; readonly platform: Platform }
  | GitOperation
  | HttpOperation;

/** What it is now. */
export interface DescribedSource {
  /** An image's as its registry has it, else its id; a commit as `sha1:…`; a file's. */
  readonly digest: string;
  /** An image in its normal form, with that digest where its registry has one. */
  readonly reference?: string;
  readonly config?: ImageConfig;
}

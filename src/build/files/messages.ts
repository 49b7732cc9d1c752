import type { FilesOperation } from "../graph.ts";
import type { Reading } from "./digest.ts";

/** What a thread is to do. Paths are of this machine; undefined is an empty root. */
export type FilesOrder =
  | {
      readonly do: "actions";
      readonly operation: FilesOperation;
      readonly root: string;
      readonly inputs: readonly (string | undefined)[];
    }
  | { readonly do: "digest"; readonly reading: Reading; readonly root: string | undefined };

/** What came of it: of actions nothing but warnings. */
export interface FilesOutcome {
  readonly digest?: string;
  readonly files?: readonly (readonly [string, string])[] | undefined;
}

/** What an order that runs may be told. */
export interface FilesWord {
  readonly do: "abort";
}

/** What it tells before its end. */
export interface FilesNews {
  readonly warning: string;
}

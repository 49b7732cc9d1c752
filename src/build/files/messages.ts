import type { ErrorKind } from "../../base/errors.ts";
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

export type ToFilesWorker =
  | { readonly do: "begin"; readonly id: number; readonly order: FilesOrder }
  | { readonly do: "abort"; readonly id: number };

export type FromFilesWorker =
  | { readonly did: "warn"; readonly id: number; readonly text: string }
  | { readonly did: "end"; readonly id: number; readonly outcome: FilesOutcome }
  | {
      readonly did: "fail";
      readonly id: number;
      readonly kind: ErrorKind | undefined;
      readonly message: string;
      readonly code: string | undefined;
    };

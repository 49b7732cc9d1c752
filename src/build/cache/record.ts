import type { Operation } from "../graph.ts";

/** A step whose result is kept, by its key. */
export interface StepRecord {
  /** The committed snapshot with what it made. */
  readonly snapshot: string;
  /** The name that the snapshot is getting, while it does. */
  readonly becomes?: string;
  /** Keys of the inputs that it was made of. */
  readonly inputs: readonly string[];
  /** Other keys of it, of how its inputs were made: the latest last. */
  readonly definitions: readonly string[];
  readonly site: string;
  /** What it did, as progress shows it. */
  readonly description: string;
  /** Unix milliseconds. */
  readonly createdAt: number;
  readonly lastUsedAt: number;
  readonly usageCount: number;
  /** Bytes of what it adds; absent until it was measured. */
  readonly size?: number;
  /** Of the boot in which it was made, until it is known to be on the disk: a power loss takes it back. */
  readonly unsynced?: string;
}

/** What the key of a step was made of, for the explanation of a later one that misses. */
export interface Ingredients {
  readonly operation: Operation;
  readonly inputs: readonly InputIngredients[];
}

export interface InputIngredients {
  /** As its vertex was named. */
  readonly name: string;
  /** The input's key, where that counts. */
  readonly key?: string;
  /** Of what was read of it, where that counts. */
  readonly digest?: string;
  /** Of each file that was read, shortened; absent where there are too many. */
  readonly files?: Readonly<Record<string, string>>;
}

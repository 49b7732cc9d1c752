/**
 * Typed, transactional records: the one seam at which SQLite (one host) becomes etcd (a swarm) or a map (tests).
 * A record is JSON under a collection's name and a key. Writes are durable when the call returns.
 */
export interface Store {
  collection<T>(name: string): Collection<T>;
  /** Runs `act` as one atomic change: all of its writes or none. `act` is synchronous. */
  transaction<T>(act: () => T): T;
  /**
   * As `transaction`, but what was written outlives only the death of this process at first: a power loss may take it
   * back until `flush`, or the next transaction, has put it on the disk.
   */
  relaxed<T>(act: () => T): T;
  /**
   * Resolves when all that was written before the call is on the disk. It does not hold up this process, and many who
   * ask at once share one sync.
   */
  flush(): Promise<void>;
  close(): void;
}

/** Records of one kind, by key. */
export interface Collection<T> {
  get(key: string): T | undefined;
  /** All records in the order of their keys. */
  list(): { readonly key: string; readonly value: T }[];
  put(key: string, value: T): void;
  delete(key: string): void;
}

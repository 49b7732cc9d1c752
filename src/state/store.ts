/**
 * Typed, transactional records: the one seam at which SQLite (one host) becomes etcd (a swarm) or a map (tests).
 * A record is JSON under a collection's name and a key. Writes are durable when the call returns.
 */
export interface Store {
  collection<T>(name: string): Collection<T>;
  /** Runs `act` as one atomic change: all of its writes or none. `act` is synchronous. */
  transaction<T>(act: () => T): T;
  /**
   * As `transaction`, for records that a power loss may take back: they outlive this process's death, and reach the
   * disk with the next transaction that must.
   */
  relaxed<T>(act: () => T): T;
  close(): void;
}

export interface Collection<T> {
  get(key: string): T | undefined;
  /** All records in the order of their keys. */
  list(): { readonly key: string; readonly value: T }[];
  put(key: string, value: T): void;
  delete(key: string): void;
}

import type { Collection, Store } from "./store.ts";

/** Records in memory, for tests. Values are copied on the way in and out, as a store on disk does. */
export function openMemory(): Store {
  const collections = new Map<string, Map<string, string>>();
  const transaction = <T>(act: () => T): T => {
    const before = [...collections].map(([name, rows]) => [name, new Map(rows)] as const);
    try {
      return act();
    } catch (error) {
      for (const [name, rows] of before) {
        const now = collections.get(name);
        now?.clear();
        for (const [key, value] of rows) now?.set(key, value);
      }
      throw error;
    }
  };

  return {
    collection<T>(name: string): Collection<T> {
      let rows = collections.get(name);
      if (rows === undefined) {
        rows = new Map();
        collections.set(name, rows);
      }
      return mapCollection(rows);
    },
    transaction,
    relaxed: transaction,
    async flush() {},
    close() {},
  };
}

function mapCollection<T>(rows: Map<string, string>): Collection<T> {
  return {
    get(key) {
      const text = rows.get(key);
      return text === undefined ? undefined : (JSON.parse(text) as T);
    },
    list() {
      return [...rows.entries()]
        .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
        .map(([key, text]) => ({ key, value: JSON.parse(text) as T }));
    },
    put(key, value) {
      rows.set(key, JSON.stringify(value));
    },
    delete(key) {
      rows.delete(key);
    },
  };
}

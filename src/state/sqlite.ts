import { closeSync, existsSync, fchmodSync, fstatSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { GantryError, messageOf } from "../base/errors.ts";
import { Flusher } from "./flusher.ts";
import { Reserve } from "./reserve.ts";
import type { Collection, Store } from "./store.ts";

const SCHEMA_VERSION = 1;

/**
 * Records in one SQLite file: write-ahead log, every commit synced to disk before the call returns. A file of a later
 * Gantry is refused with `unsupported` instead of being written to.
 */
export function openSqlite(path: string): Store {
  const reserve = new Reserve(path);
  const db = open(path, reserve);
  const version = (db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
  if (version > SCHEMA_VERSION) {
    db.close();
    throw new GantryError(
      "unsupported",
      `cannot open ${path}: it was written by a later version of Gantry (schema ${version}, this one knows ${SCHEMA_VERSION})`,
    );
  }
  // Not written to without need: an engine must begin on a full disk, too, to have something removed.
  if (version < SCHEMA_VERSION) {
    writing(path, () =>
      db.exec(`CREATE TABLE IF NOT EXISTS records (
        collection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (collection, key)
      ) WITHOUT ROWID, STRICT; PRAGMA user_version = ${SCHEMA_VERSION}`),
    );
  }

  const get = db.prepare("SELECT value FROM records WHERE collection = ? AND key = ?");
  const list = db.prepare("SELECT key, value FROM records WHERE collection = ? ORDER BY key");
  const put = db.prepare("INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value");
  const remove = db.prepare("DELETE FROM records WHERE collection = ? AND key = ?");
  const begin = db.prepare("BEGIN IMMEDIATE");
  const commit = db.prepare("COMMIT");
  const rollback = db.prepare("ROLLBACK");
  // A commit of a relaxed transaction is whole in the write-ahead log; what it lacks is that file's sync. The file is
  // there from the first reading on, which the version's was, until the database is closed.
  const flusher = new Flusher(`${path}-wal`);
  reserve.holdInLog();
  let depth = 0;

  const transaction = <T>(act: () => T): T => {
    // An inner transaction is part of the outer one: it has no end of its own to be durable at.
    if (depth > 0) return act();
    writing(path, () => begin.run());
    depth++;
    try {
      const result = act();
      writing(path, () => commit.run());
      return result;
    } catch (error) {
      // A full disk ends a transaction by itself.
      if (db.isTransaction) rollback.run();
      throw error;
    } finally {
      depth--;
    }
  };

  return {
    collection<T>(name: string): Collection<T> {
      return {
        get(key) {
          const row = reading(path, () => get.get(name, key)) as { value: string } | undefined;
          return row === undefined ? undefined : (parsed(path, name, key, row.value) as T);
        },
        list() {
          const rows = reading(path, () => list.all(name)) as { key: string; value: string }[];
          return rows.map(({ key, value }) => ({ key, value: parsed(path, name, key, value) as T }));
        },
        put(key, value) {
          writing(path, () => put.run(name, key, JSON.stringify(value)));
        },
        delete(key) {
          writing(path, () => remove.run(name, key));
        },
      };
    },
    transaction,
    relaxed<T>(act: () => T): T {
      if (depth > 0) return act();
      db.exec("PRAGMA synchronous = NORMAL");
      try {
        return transaction(act);
      } finally {
        db.exec("PRAGMA synchronous = FULL");
      }
    },
    flush: () => flusher.flush(),
    close() {
      flusher.close();
      db.close();
      reserve.holdInFile();
    },
  };
}

/** SQLite's own complaints, such as "database disk image is malformed", as one sentence with the file's name. */
function reading<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new GantryError("internal", `cannot read the records in ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function writing(path: string, act: () => unknown): void {
  try {
    act();
  } catch (error) {
    throw new GantryError("internal", `cannot write the records in ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function parsed(path: string, collection: string, key: string, value: string): unknown {
  try {
    return JSON.parse(value);
  } catch (cause) {
    throw new GantryError("internal", `cannot read the records in ${path}: that of ${collection} ${key} is damaged`, {
      cause,
    });
  }
}

/** What containers are told in their environment stands in it. Files that come beside it get its mode. */
function keepPrivate(path: string): void {
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    if (file !== path && !existsSync(file)) continue;
    const fd = openSync(file, "a", 0o600);
    try {
      if ((fstatSync(fd).mode & 0o077) !== 0) fchmodSync(fd, 0o600);
    } finally {
      closeSync(fd);
    }
  }
}

function open(path: string, reserve: Reserve): DatabaseSync {
  try {
    reserve.release();
    keepPrivate(path);
    const db = new DatabaseSync(path);
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000");
    return db;
  } catch (error) {
    throw new GantryError("internal", `cannot open the records in ${path}: ${messageOf(error)}`, { cause: error });
  }
}

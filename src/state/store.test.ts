import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, describe, it } from "node:test";
import { openMemory } from "./memory.ts";
import { openSqlite } from "./sqlite.ts";
import { storeSuite } from "./store.suite.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-state-"));
after(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
storeSuite("memory", openMemory);
storeSuite("sqlite", () => openSqlite(join(folder, `${count++}.db`)));

describe("the SQLite store", () => {
  it("holds what was put when the process is killed right after", () => {
    const path = join(folder, "killed.db");
    const module = new URL("./sqlite.ts", import.meta.url).href;
    const child = spawnSync(process.execPath, [
      "--input-type=module",
      "-e",
      `const { openSqlite } = await import(${JSON.stringify(module)});
       const rows = openSqlite(${JSON.stringify(path)}).collection("rows");
       for (let i = 0; i < 50; i++) rows.put(String(i), i);
       process.kill(process.pid, "SIGKILL");`,
    ]);
    assert.equal(child.signal, "SIGKILL");
    const store = openSqlite(path);
    assert.equal(store.collection("rows").list().length, 50);
    store.close();
  });

  it("refuses a file of a later version and leaves it alone", () => {
    const path = join(folder, "later.db");
    const db = new DatabaseSync(path);
    db.exec("PRAGMA user_version = 99");
    db.close();
    assert.throws(() => openSqlite(path), /written by a later version of Gantry \(schema 99, this one knows 1\)/);
  });

  it("names the file that is no database", () => {
    assert.throws(() => openSqlite("/proc/version"), /cannot open the records in \/proc\/version: /);
  });
});

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
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

  it("is read by nobody else, also what an earlier version left readable", () => {
    const path = join(folder, "private.db");
    const files = [path, `${path}-wal`, `${path}-shm`];
    const store = openSqlite(path);
    store.collection("rows").put("a", "secret");
    for (const file of files) assert.equal(statSync(file).mode & 0o777, 0o600, file);
    for (const file of files) chmodSync(file, 0o644);
    openSqlite(path).close();
    for (const file of files) assert.equal(statSync(file).mode & 0o777, 0o600, file);
    store.close();
  });

  it("refuses a file of a later version and leaves it alone", () => {
    const path = join(folder, "later.db");
    const db = new DatabaseSync(path);
    db.exec("PRAGMA user_version = 99");
    db.close();
    assert.throws(() => openSqlite(path), /written by a later version of Gantry \(schema 99, this one knows 1\)/);
  });

  it("takes back what a full disk has no room for, says so, and begins there again", (t) => {
    const disk = join(folder, "disk");
    mkdirSync(disk);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], { encoding: "utf8" });
    if (mounted.status !== 0) return t.skip(mounted.stderr);
    try {
      const path = join(disk, "full.db");
      const first = openSqlite(path);
      first.collection("rows").put("kept", "first");
      first.close();
      const store = openSqlite(path);
      const rows = store.collection<string>("rows");
      assert.equal(rows.get("kept"), "first");
      const fill = () =>
        store.transaction(() => {
          rows.put("kept", "second");
          for (let n = 0; n < 2000; n++) rows.put(String(n), "x".repeat(1000));
        });
      assert.throws(fill, { message: `cannot write the records in ${path}: database or disk is full` });
      assert.deepEqual(rows.list(), [{ key: "kept", value: "first" }]);
      store.transaction(() => rows.put("kept", "third"));
      store.close();
    } finally {
      spawnSync("umount", ["-l", disk]);
    }
  });

  it("takes small changes back and on where a disk has no byte left, also when it is opened there", (t) => {
    const disk = join(folder, "no-byte");
    mkdirSync(disk);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], { encoding: "utf8" });
    if (mounted.status !== 0) return t.skip(mounted.stderr);
    const path = join(disk, "full.db");
    const fill = (): void => {
      const fd = openSync(join(disk, "filler"), "a");
      try {
        for (;;) writeSync(fd, Buffer.alloc(4096));
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      } finally {
        closeSync(fd);
      }
    };
    try {
      const before = openSqlite(path);
      for (let n = 0; n < 100; n++) before.collection("rows").put(String(n), "x".repeat(1000));
      before.close();
      const first = openSqlite(path);
      fill();
      // More than the log has between two checkpoints, which must find its way back to the beginning.
      for (let round = 0; round < 20; round++) {
        for (let n = 0; n < 100; n++) first.collection("rows").put(String(n), String(round % 10).repeat(1000));
      }
      first.collection("rows").delete("99");
      first.close();
      fill();
      const second = openSqlite(path);
      assert.equal(second.collection("rows").list().length, 99);
      fill();
      second.transaction(() => {
        for (let n = 0; n < 99; n++) second.collection("rows").delete(String(n));
      });
      second.close();
      const third = openSqlite(path);
      assert.deepEqual(third.collection("rows").list(), []);
      third.close();
    } finally {
      spawnSync("umount", ["-l", disk]);
    }
  });

  it("names the file that is no database", () => {
    assert.throws(() => openSqlite("/proc/version"), /cannot open the records in \/proc\/version: /);
  });
});

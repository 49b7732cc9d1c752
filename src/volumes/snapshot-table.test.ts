import assert from "node:assert/strict";
import { test } from "node:test";
import { openMemory } from "../state/memory.ts";
import { SnapshotTable } from "./snapshot-table.ts";

const first = { Name: "first", Volume: "data", CreatedAt: "2026-01-01T00:00:00.000Z", Size: 1, Shared: false };

test("snapshots that a transaction was to forget are all there when it fails", () => {
  const store = openMemory();
  const table = new SnapshotTable(store, () => true);
  table.add(first);
  const fail = () => {
    table.forget("data");
    throw new Error("no space left on device");
  };
  assert.throws(() => store.transaction(fail));
  assert.deepEqual(table.of("data"), [first]);
  assert.deepEqual(new SnapshotTable(store, () => true).of("data"), [first]);
  store.transaction(() => table.forget("data"));
  table.forgotten("data");
  assert.deepEqual(table.of("data"), []);
  assert.deepEqual(new SnapshotTable(store, () => true).of("data"), []);
});

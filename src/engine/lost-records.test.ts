import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { refuseLostRecords } from "./lost-records.ts";

const root = mkdtempSync(join(tmpdir(), "gantry-records-"));
after(() => rmSync(root, { recursive: true, force: true }));
const records = join(root, "gantry.db");

test("a new data root needs no records", () => {
  refuseLostRecords(root, records);
  writeFileSync(records, "");
  mkdirSync(join(root, "containers"));
  refuseLostRecords(root, records);
});

test("missing or empty records beside containers or volumes are refused", () => {
  mkdirSync(join(root, "containers/abc"));
  assert.throws(
    () => refuseLostRecords(root, records),
    /gantry\.db is empty, but .* holds containers: put the file back/,
  );
  rmSync(records);
  mkdirSync(join(root, "volumes/v"), { recursive: true });
  assert.throws(() => refuseLostRecords(root, records), /is missing, but .* holds containers and volumes/);
});

test("records that are there are left to those who read them", () => {
  writeFileSync(records, "anything");
  refuseLostRecords(root, records);
});

import assert from "node:assert/strict";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { removeTree } from "./remove-tree.ts";

test("two that remove one tree at once both succeed", async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-remove-"));
  const dir = openSync(root, "r");
  try {
    for (let folder = 0; folder < 400; folder++) {
      const path = join(root, "tree", String(folder), "fs");
      mkdirSync(path, { recursive: true });
      for (let file = 0; file < 20; file++) writeFileSync(join(path, String(file)), "x");
    }
    await Promise.all([removeTree(dir, "tree"), removeTree(dir, "tree")]);
    assert.equal(existsSync(join(root, "tree")), false);
  } finally {
    closeSync(dir);
    rmSync(root, { recursive: true, force: true });
  }
});

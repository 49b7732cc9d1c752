import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { bytesOf, type Part, sizeOf, wholeOf } from "./document-parts.ts";

test("a document of pieces in memory and in files is read from its beginning to its end", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-parts-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "middle");
  writeFileSync(file, "m".repeat(200_000));
  const parts: Part[] = [Buffer.from("["), { file, size: 200_000 }, Buffer.from("]")];
  const pieces = await Array.fromAsync(bytesOf(parts));
  assert.equal(Buffer.concat(pieces).toString(), `[${"m".repeat(200_000)}]`);
  assert.ok(pieces.length > 3);
  assert.equal(sizeOf(parts), 200_002);
  assert.throws(() => wholeOf(parts), { kind: "internal" });
  assert.equal(Buffer.from(wholeOf([Buffer.from("a"), Buffer.from("b")])).toString(), "ab");
});

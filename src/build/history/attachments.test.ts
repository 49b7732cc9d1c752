import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { BuildAttachment } from "../builder.ts";
import { readAttachment, writeAttachments } from "./attachments.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-attachments-"));
after(() => rmSync(folder, { recursive: true }));

function attachment(bytes: Uint8Array): BuildAttachment {
  return { kind: "provenance", platform: "", mediaType: "application/json", annotations: {}, bytes };
}

test("documents are read as they were written, nobody else can read them", async () => {
  const path = join(folder, "two");
  const texts = ["first", "", "third"];
  const kept = writeAttachments(
    path,
    texts.map((text) => attachment(Buffer.from(text))),
  );
  for (const [index, one] of kept.entries()) {
    assert.equal(Buffer.from(await readAttachment(path, one)).toString(), texts[index]);
  }
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test("what would be too long is left out, the others are not", () => {
  const kept = writeAttachments(join(folder, "long"), [
    attachment(Buffer.alloc(5 << 20)),
    attachment(Buffer.from("short")),
  ]);
  assert.deepEqual(
    kept.map(({ offset, size }) => [offset, size]),
    [[0, 5]],
  );
});

test("a file that is gone, short or another one has none", async () => {
  const path = join(folder, "damaged");
  const [kept] = writeAttachments(path, [attachment(Buffer.from("whole"))]);
  appendFileSync(path, "more");
  assert.equal((await readAttachment(path, kept!)).length, 5);
  for (const text of ["who", "other"]) {
    writeFileSync(path, text);
    await assert.rejects(readAttachment(path, kept!), { kind: "not-found" });
  }
  rmSync(path);
  await assert.rejects(readAttachment(path, kept!), { kind: "not-found" });
});

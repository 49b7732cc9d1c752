import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { messageOf } from "../base/errors.ts";
import { dump } from "./node-dump.fixture.ts";
import { parseNodes } from "./parse.ts";

interface Row {
  readonly name: string;
  readonly text: string;
  readonly ast?: string;
  readonly parseErr: string;
}

const rows = readFileSync(new URL("./testdata/dockerfiles.jsonl", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Row);

test("every published Dockerfile is read as BuildKit reads it", () => {
  for (const row of rows) assert.deepEqual(read(row), { ast: row.ast, parseErr: row.parseErr }, row.name);
  assert.equal(rows.length > 200, true);
});

function read(row: Row): { ast: string | undefined; parseErr: string } {
  try {
    return { ast: dump(parseNodes({ name: row.name, text: row.text })), parseErr: "" };
  } catch (error) {
    return { ast: undefined, parseErr: messageOf(error) };
  }
}

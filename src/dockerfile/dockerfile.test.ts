import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { messageOf } from "../base/errors.ts";
import { parseDockerfile } from "./dockerfile.ts";
import type { Dockerfile } from "./instruction.ts";

interface Row {
  readonly name: string;
  readonly text: string;
  readonly parseErr: string;
  readonly instructions?: readonly string[];
  readonly instrErr?: string;
}

const rows = readFileSync(new URL("./testdata/dockerfiles.jsonl", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Row)
  .filter((row) => row.parseErr === "");

/** What the table's parser, of Docker 26.1, did not have yet. */
const NEWER: ReadonlyMap<string, string> = new Map([
  ["dockerfile parse error on line 19: unknown flag: security", "RUN --security"],
]);

test("every published Dockerfile is understood as BuildKit understands it", () => {
  for (const row of rows) {
    if (NEWER.has(row.instrErr ?? "")) continue;
    // Flags have had their dashes in messages since.
    const instrErr = (row.instrErr ?? "").replace(/(?<=\bunknown flag: )(?=\w)/, "--");
    assert.deepEqual(read(row), { instructions: row.instructions, instrErr }, row.name);
  }
  assert.equal(rows.length > 200, true);
});

function read(row: Row): { instructions: readonly string[] | undefined; instrErr: string } {
  try {
    return { instructions: listed(parseDockerfile(row)), instrErr: "" };
  } catch (error) {
    return { instructions: undefined, instrErr: messageOf(error) };
  }
}

function listed(file: Dockerfile): string[] {
  return [
    ...file.metaArgs.map(({ code }) => `ARG ${code}`),
    ...file.stages.flatMap((stage) => [
      `STAGE ${stage.name} FROM ${stage.base} platform=${stage.platform ?? ""}`,
      ...stage.instructions.map(({ name }) => name.toUpperCase()),
    ]),
  ];
}

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { bytesSize, humanDuration, humanSize, parseUlimit, ramInBytes } from "./units.ts";

type Row = Readonly<Record<string, string | number>>;

const rows = readFileSync(new URL("./testdata/units.jsonl", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Row);

test("every row of the original's truth table is answered as the original does", () => {
  const seen = { size: 0, ulimit: 0, human: 0, duration: 0 };
  for (const row of rows) {
    const text = String(row.in);
    if ("fromHuman" in row) {
      seen.size++;
      const { value, error } = sizeOf(() => ramInBytes(text));
      assert.deepEqual({ ram: value, ramErr: error }, { ram: row.ram, ramErr: row.ramErr }, text);
    } else if ("ulimit" in row) {
      seen.ulimit++;
      const { name, soft, hard } = parseUlimit(text);
      assert.equal(`${name}=${soft}:${hard}`, row.ulimit);
    } else if ("ulimitErr" in row) {
      seen.ulimit++;
      assert.throws(() => parseUlimit(text), { message: row.ulimitErr }, text);
    } else if ("duration" in row) {
      seen.duration++;
      assert.equal(humanDuration(Number(row.seconds) * 1000), row.duration);
    } else {
      seen.human++;
      const size = Number(row.size);
      assert.deepEqual({ bytes: bytesSize(size), h3: humanSize(size, 3), human: humanSize(size), size }, row);
    }
  }
  assert.deepEqual(seen, { size: 194, ulimit: 194, human: 320, duration: 138 });
});

test("sizes beyond 64 bits are refused", () => {
  assert.throws(() => ramInBytes("8192p"), /invalid size: '8192p'/);
  assert.throws(() => ramInBytes("1e999"), /value out of range/);
});

function sizeOf(act: () => number): { value: number; error: string } {
  try {
    return { value: act(), error: "" };
  } catch (error) {
    return { value: -1, error: (error as Error).message };
  }
}

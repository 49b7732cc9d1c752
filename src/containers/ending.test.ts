import assert from "node:assert/strict";
import { test } from "node:test";
import { endsIt } from "./ending.ts";
import type { Entry } from "./table.ts";

const entryWith = (StopSignal: string | undefined) => ({ record: { config: { StopSignal } } }) as unknown as Entry;

test("a container ends by SIGKILL and by its stop signal, which is SIGTERM where it names none", () => {
  const rows: readonly (readonly [signal: string | undefined, number: number])[] = [
    [undefined, 15],
    ["", 15],
    ["SIGINT", 2],
    ["99", 15],
    ["-1", 15],
  ];
  for (const [stopSignal, ends] of rows) {
    const entry = entryWith(stopSignal);
    assert.deepEqual([endsIt(entry, 9), endsIt(entry, ends), endsIt(entry, 10)], [true, true, false], stopSignal);
  }
});

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RULES } from "../../src/dockerfile/lint-rules.ts";
import { REFERENCE_CASES } from "./cases.ts";
import { MEANT } from "./meant.ts";
import { plannedOf } from "./planned.ts";
import type { Recorded } from "./record.ts";
import { isLate, RECORDING, withoutPlaces } from "./recording.ts";

const FIELDS = ["error", "warnings", "check", "outline", "targets", "config", "history"] as const;

describe("a Dockerfile of the reference", () => {
  test("is recorded, and once", () => {
    const names = REFERENCE_CASES.map(({ name }) => name);
    assert.deepEqual(Object.keys(RECORDING.cases).toSorted(), names.toSorted());
  });

  test("is planned as BuildKit plans it", async () => {
    const found: unknown[] = [];
    for (const one of REFERENCE_CASES) {
      const theirs = RECORDING.cases[one.name]!;
      const ours = await plannedOf(one, RECORDING.base);
      const [left, right] = comparable(ours, theirs);
      for (const field of FIELDS) {
        const isMeant = MEANT.some((row) => row.of.test(one.name) && row.in.includes(field));
        const [a, b] = [JSON.stringify(left[field]), JSON.stringify(right[field])];
        if (!isMeant && a !== b) found.push({ case: one.name, field, ours: a, theirs: b });
      }
    }
    assert.deepEqual(found, []);
  });

  test("differs where it is said to", async () => {
    const same: string[] = [];
    for (const row of MEANT.filter(({ by }) => by === "plan")) {
      const cases = REFERENCE_CASES.filter(({ name }) => row.of.test(name));
      for (const one of cases) {
        const ours = await plannedOf(one, RECORDING.base);
        const [left, right] = comparable(ours, RECORDING.cases[one.name]!);
        const differ = FIELDS.some((field) => {
          return row.in.includes(field) && JSON.stringify(left[field]) !== JSON.stringify(right[field]);
        });
        if (!differ) same.push(`${one.name}: ${row.why}`);
      }
      if (cases.length === 0) same.push(row.why);
    }
    assert.deepEqual(same, []);
  });

  test("breaks rules of BuildKit's descriptions and addresses", () => {
    const own = new Map<string, (typeof RULES)[keyof typeof RULES]>(
      Object.values(RULES).map((rule) => [rule.name, rule]),
    );
    const names = Object.keys(RECORDING.rules);
    assert.ok(names.length >= 18, `only ${names.length} rules are broken by some case`);
    for (const name of names) {
      const [description, url] = RECORDING.rules[name]!;
      assert.deepEqual([own.get(name)?.description, own.get(name)?.url], [description, url], name);
    }
  });
});

/** Both sides without what a plan can't know, and without places that only one of them tells. */
function comparable(ours: Recorded, theirs: Recorded): [Recorded, Recorded] {
  const late = isLate(theirs) && ours.error === undefined;
  const { files: _files, ...built } = theirs;
  const [a, b] = [withoutPlaces(ours, theirs), withoutPlaces(built, theirs)];
  if (!late) return [a, b];
  const { config: _config, history: _history, ...planned } = a;
  const { error: _error, ...others } = b;
  return [planned, others];
}

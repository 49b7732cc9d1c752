import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { departures } from "./departures.ts";

interface Entry {
  readonly row: { readonly id: string; readonly parents: readonly string[] };
}

const entry = (id: string, ...parents: string[]): Entry => ({ row: { id, parents } });

function childrenOf(entries: readonly Entry[]): Map<string, number> {
  const children = new Map<string, number>();
  for (const { row } of entries) for (const id of row.parents) children.set(id, (children.get(id) ?? 0) + 1);
  return children;
}

function orderOf(candidates: readonly Entry[], all = candidates): string[] {
  return [...departures(candidates, childrenOf(all))].map(({ row }) => row.id);
}

/** The same by looking at all of them again and again. */
function slowly(candidates: readonly Entry[], all: readonly Entry[]): string[] {
  const children = childrenOf(all);
  const gone: string[] = [];
  for (let found = true; found; ) {
    found = false;
    for (const { row } of candidates) {
      if (gone.includes(row.id) || (children.get(row.id) ?? 0) > 0) continue;
      gone.push(row.id);
      found = true;
      for (const id of row.parents) children.set(id, children.get(id)! - 1);
    }
  }
  return gone;
}

test("what others stand on goes after them, what came first otherwise first", () => {
  assert.deepEqual(orderOf([entry("a"), entry("b", "a"), entry("c")]), ["b", "c", "a"]);
  assert.deepEqual(orderOf([entry("c", "b"), entry("b", "a"), entry("a"), entry("d")]), ["c", "b", "a", "d"]);
  const kept = entry("kept", "b");
  assert.deepEqual(orderOf([entry("a"), entry("b", "a"), entry("c")], [entry("a"), entry("b", "a"), kept]), ["c"]);
});

test("the order is that of looking at all of them again and again", () => {
  const forest = fc.array(fc.record({ below: fc.nat(30), stays: fc.boolean(), age: fc.nat(100) }), { maxLength: 40 });
  fc.assert(
    fc.property(forest, (rows) => {
      const all = rows.map(({ below }, at) => entry(`${at}`, ...(below < at ? [`${below}`] : [])));
      const candidates = all
        .filter((_, at) => !rows[at]!.stays)
        .sort((a, b) => rows[Number(b.row.id)]!.age - rows[Number(a.row.id)]!.age);
      assert.deepEqual(orderOf(candidates, all), slowly(candidates, all));
    }),
  );
});

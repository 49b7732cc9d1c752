import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NumberHeap } from "./number-heap.ts";

test("gives the least number first, whatever was added and taken before", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer({ min: -50, max: 50 }))), (acts) => {
      const heap = new NumberHeap();
      const sorted: number[] = [];
      for (const act of acts) {
        if (act === null) assert.equal(heap.take(), sorted.shift());
        else {
          heap.add(act);
          sorted.push(act);
          sorted.sort((a, b) => a - b);
        }
        assert.equal(heap.size, sorted.length);
      }
    }),
  );
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Store } from "./store.ts";

/** The contract of a Store, to be passed by each implementation. `open` gives a new, empty store. */
export function storeSuite(name: string, open: () => Store): void {
  describe(`a store (${name})`, () => {
    it("gives back what was put, and nothing after it was deleted", () => {
      const store = open();
      const rows = store.collection<{ n: number }>("rows");
      rows.put("a", { n: 1 });
      rows.put("a", { n: 2 });
      assert.deepEqual(rows.get("a"), { n: 2 });
      rows.delete("a");
      rows.delete("a");
      assert.equal(rows.get("a"), undefined);
      store.close();
    });

    it("lists a collection by key and keeps collections apart", () => {
      const store = open();
      const rows = store.collection<number>("rows");
      for (const key of ["b", "a", "c"]) rows.put(key, key.charCodeAt(0));
      store.collection<number>("others").put("z", 0);
      assert.deepEqual(rows.list(), [
        { key: "a", value: 97 },
        { key: "b", value: 98 },
        { key: "c", value: 99 },
      ]);
      store.close();
    });

    it("does not let a caller change a record by changing the value it put or got", () => {
      const store = open();
      const rows = store.collection<{ list: number[] }>("rows");
      const value = { list: [1] };
      rows.put("a", value);
      value.list.push(2);
      rows.get("a")?.list.push(3);
      assert.deepEqual(rows.get("a"), { list: [1] });
      store.close();
    });

    it("keeps what was put with relaxed durability, and takes it back when that throws", () => {
      const store = open();
      const rows = store.collection<number>("rows");
      store.relaxed(() => rows.put("a", 1));
      assert.throws(() =>
        store.relaxed(() => {
          rows.put("a", 2);
          throw new Error("no");
        }),
      );
      assert.equal(rows.get("a"), 1);
      store.close();
    });

    it("flushes for all who ask", async () => {
      const store = open();
      const rows = store.collection<number>("rows");
      for (let n = 0; n < 20; n++) store.relaxed(() => rows.put(String(n), n));
      await Promise.all(Array.from({ length: 20 }, () => store.flush()));
      await store.flush();
      store.close();
    });

    it("does all of a transaction, or none when it throws, also from within another", () => {
      const store = open();
      const rows = store.collection<number>("rows");
      store.transaction(() => {
        rows.put("a", 1);
        store.transaction(() => rows.put("b", 2));
      });
      assert.throws(() =>
        store.transaction(() => {
          rows.put("a", 10);
          store.transaction(() => rows.delete("b"));
          throw new Error("no");
        }),
      );
      assert.deepEqual(rows.list(), [
        { key: "a", value: 1 },
        { key: "b", value: 2 },
      ]);
      store.close();
    });
  });
}

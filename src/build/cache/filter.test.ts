import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isKind } from "../../base/errors.ts";
import type { CacheUsage } from "../builder.ts";
import { cacheFilter } from "./filter.ts";

const ROW: CacheUsage = {
  ...{ id: "abcdef", parents: ["parent"], type: "regular", description: "[1/2] RUN a, b", inUse: false, shared: true },
  ...{ size: 1, createdAt: 0, lastUsedAt: 0, usageCount: 1 },
};

describe("filters of the cache", () => {
  for (const [filters, expected] of [
    [[], true],
    [[""], true],
    [["id~=bcd"], true],
    [["id==bcd"], false],
    [["id!=bcd"], true],
    [["id=abcdef"], true],
    [["type==regular"], true],
    [["type==source.local", "type==regular"], true],
    [["type==source.local,id~=a"], false],
    [["type==regular,parent==parent"], true],
    [["parents==other"], false],
    [['description=="[1/2] RUN a, b"'], true],
    [['description~="a, b",shared'], true],
    [["shared"], true],
    [["shared==false"], false],
    [["private"], false],
    [["inuse!=true"], true],
    [["mutable"], false],
    [["immutable"], true],
    [["description"], true],
  ] as const) {
    it(`${JSON.stringify(filters)} ${expected ? "matches" : "does not match"}`, () => {
      assert.equal(cacheFilter(filters)(ROW), expected);
    });
  }

  it("refuses what is no filter", () => {
    for (const text of [
      "==",
      "a b",
      "constructor==x",
      "id==a,",
      ",id",
      'id=="a',
      'id=="\\x"',
      "inuse==maybe",
      "size==1",
    ]) {
      assert.throws(
        () => cacheFilter([text]),
        (error) => isKind(error, "invalid"),
        text,
      );
    }
  });
});

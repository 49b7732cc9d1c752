import assert from "node:assert/strict";
import { test } from "node:test";
import { createRouter } from "./router.ts";

test("names with slashes, tags and digests are told from what follows them", () => {
  const match = createRouter();
  const table: [string, string, string | undefined, Record<string, string>?][] = [
    ["GET", "/images/json", "imageList"],
    ["GET", "/images/get", "imageSaveMany"],
    ["GET", "/images/a/json", "imageInspect", { name: "a" }],
    ["GET", "/images/host:5000/a/b:tag/json", "imageInspect", { name: "host:5000/a/b:tag" }],
    ["GET", "/images/a%2Fb/history", "imageHistory", { name: "a/b" }],
    ["GET", "/images/json/json", "imageInspect", { name: "json" }],
    ["GET", "/images/a@sha256:00/get", "imageSave", { name: "a@sha256:00" }],
    ["DELETE", "/images/a/b", "imageRemove", { name: "a/b" }],
    ["POST", "/images/a/b/tag", "imageTag", { name: "a/b" }],
    ["POST", "/images/load", "imageLoad"],
    ["GET", "/images/a/b", undefined],
    ["GET", "/containers/x/json", "containerInspect", { id: "x" }],
    ["DELETE", "/containers/%2Fx", "containerRemove", { name: "/x" }],
    ["DELETE", "/containers/web/db", "containerRemove", { name: "web/db" }],
    ["DELETE", "/containers/", undefined],
    ["GET", "/containers//json", undefined],
    ["POST", "/containers/x/json", undefined],
    ["BREW", "/containers/json", undefined],
  ];
  for (const [method, path, name, params] of table) {
    const found = match(method, path);
    assert.equal(found?.name, name, path);
    if (params !== undefined) assert.deepEqual({ ...found?.params }, params);
  }
});

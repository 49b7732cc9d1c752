import assert from "node:assert/strict";
import { test } from "node:test";
import { followLinks } from "./follow-links.ts";

const LINKS: Readonly<Record<string, string>> = {
  "a/up": "../b/./c",
  "b/c": "/top//deep",
  out: "../../../etc",
  loop: "loop",
  "top/deep/file": "other",
};
const linkAt = (folder: string, name: string) => LINKS[folder === "" ? name : `${folder}/${name}`];

test("a path leads where a process with this root would come", () => {
  for (const [path, leads] of [
    ["a/b/../c", "a/c"],
    ["/a/up/x", "top/deep/x"],
    ["a/up/file", "top/deep/other"],
    ["out/passwd", "etc/passwd"],
    // What follows a link is seen from where it leads.
    ["a/up/../y", "top/y"],
    ["../..", ""],
    ["loop/x", undefined],
  ] as const) {
    assert.equal(followLinks(path, linkAt), leads, path);
  }
});

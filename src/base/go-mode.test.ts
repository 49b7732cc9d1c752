import assert from "node:assert/strict";
import { test } from "node:test";
import { GO_MODE, goModeOf, hasGoMode, permissionsOfGoMode } from "./go-mode.ts";

test("modes of Linux are told in Go's bits, and their permissions come back", () => {
  const rows: readonly [string, number, number][] = [
    ["a file", 0o100644, 0o644],
    ["a folder that anybody writes in", 0o041777, 0x8010_01ff],
    ["a link", 0o120777, 0x0800_01ff],
    ["a pipe", 0o010600, 0x0200_0180],
    ["a socket", 0o140755, 0x0100_01ed],
    ["a disk", 0o060660, 0x0400_01b0],
    ["a terminal", 0o020620, 0x0420_0190],
    ["a command of root's", 0o106755, 0x00c0_01ed],
  ];
  for (const [name, mode, goMode] of rows) {
    assert.equal(goModeOf(mode), goMode, name);
    assert.equal(permissionsOfGoMode(goMode), mode & 0o7777, name);
    assert.equal(hasGoMode(goMode, GO_MODE.dir), (mode & 0o170000) === 0o040000, name);
  }
});

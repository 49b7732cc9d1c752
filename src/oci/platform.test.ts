import assert from "node:assert/strict";
import { test } from "node:test";
import { choosePlatform, formatPlatform, hostPlatform, parsePlatform } from "./platform.ts";

test("platforms are read in every spelling", () => {
  const table: readonly (readonly [string, string])[] = [
    ["linux/amd64", "linux/amd64"],
    ["linux/x86_64", "linux/amd64"],
    ["linux/amd64/v1", "linux/amd64"],
    ["linux/aarch64", "linux/arm64"],
    ["linux/arm64/v8", "linux/arm64"],
    ["linux/arm", "linux/arm/v7"],
    ["linux/armel", "linux/arm/v6"],
    ["Linux/ARM/7", "linux/arm/v7"],
    ["arm64", "linux/arm64"],
    ["windows/amd64", "windows/amd64"],
    ["linux", formatPlatform(hostPlatform())],
  ];
  for (const [text, expected] of table) assert.equal(formatPlatform(parsePlatform(text)), expected, text);
});

test("what is no platform is refused", () => {
  for (const text of ["", "linux/", "linux/a/b/c", "linux/am d64", "nonsense", "constructor"]) {
    assert.throws(() => parsePlatform(text), { name: "GantryError" }, text);
  }
});

test("the best of an index's platforms is chosen, and none where none suits", () => {
  const choose = (wanted: string, ...offered: string[]) =>
    choosePlatform(offered, parsePlatform(wanted), (text) => (text === "none" ? undefined : parsePlatform(text)));
  assert.equal(choose("linux/arm/v7", "linux/arm/v5", "linux/arm/v6", "linux/arm64"), "linux/arm/v6");
  assert.equal(choose("linux/arm/v6", "linux/arm/v7"), undefined);
  assert.equal(choose("linux/amd64/v3", "none", "linux/amd64", "linux/amd64/v2"), "linux/amd64/v2");
  assert.equal(choose("linux/amd64", "linux/s390x", "none"), undefined);
  assert.equal(choose("linux/amd64", "linux/386"), "linux/386");
});

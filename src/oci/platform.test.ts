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
    ["windows(10.0.17763)/amd64", "windows/amd64"],
  ];
  for (const [text, expected] of table) assert.equal(formatPlatform(parsePlatform(text)), expected, text);
});

test("what is no platform is refused in containerd's words", () => {
  const system = String.raw`OSAndVersion specifier component must match "^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$"`;
  const other = 'platform specifier component must match "^[A-Za-z0-9_.-]+$"';
  const table: readonly (readonly [text: string, why: string])[] = [
    ["", `"" is an invalid OS component of "": ${system}`],
    ["/", `"" is an invalid OS component of "/": ${system}`],
    ["win(1/amd64", `"win(1" is an invalid OS component of "win(1/amd64": ${system}`],
    ["linux/", `"" is an invalid component of "linux/": ${other}`],
    ["linux/am d64", `"am d64" is an invalid component of "linux/am d64": ${other}`],
    ["linux/a/b/c", '"linux/a/b/c": cannot parse platform specifier'],
    ["windows(%zz)/amd64", '"windows(%zz)/amd64" has an invalid OS version "%zz"'],
    ["nonsense", '"nonsense": unknown operating system or architecture'],
    ["constructor", '"constructor": unknown operating system or architecture'],
  ];
  for (const [text, why] of table) {
    assert.throws(() => parsePlatform(text), { kind: "invalid", message: `${why}: invalid argument` }, text);
  }
});

test("the version and the features of an operating system are read", () => {
  const read = { os: "windows", architecture: "amd64", "os.version": "10.0+1", "os.features": ["a", "win32k"] };
  assert.deepEqual(parsePlatform("windows(10.0%2B1+win32k+a)/amd64"), read);
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

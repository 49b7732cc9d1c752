import assert from "node:assert/strict";
import { test } from "node:test";
import { machinePlatform, platformWith } from "./machine-platform.ts";
import { hostPlatform, suitablePlatforms } from "./platform.ts";

test("a processor has the highest level of which it lacks nothing", () => {
  const second = ["cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"];
  const third = ["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"];
  const fourth = ["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"];
  const level = (flags: readonly string[], architecture = "amd64"): string | undefined =>
    platformWith({ os: "linux", architecture }, new Set(flags)).variant;
  assert.equal(level([]), undefined);
  assert.equal(level(second.slice(1)), undefined);
  assert.equal(level(second), "v2");
  assert.equal(level([...second, ...third.slice(1), ...fourth]), "v2");
  assert.equal(level([...second, ...third]), "v3");
  assert.equal(level([...second, ...third, ...fourth, "more"]), "v4");
  assert.equal(level([...third, ...fourth]), undefined);
  assert.equal(level([...second, ...third], "arm64"), undefined);
});

test("this machine runs what is for any machine of its kind", () => {
  const { os, architecture } = hostPlatform();
  assert.ok(suitablePlatforms(machinePlatform()).includes(`${os}/${architecture}`));
});

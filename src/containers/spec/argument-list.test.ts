import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { checkArgumentList } from "./argument-list.ts";

const MB = 1 << 20;
const stack = (soft: number) => [{ type: "RLIMIT_STACK", soft, hard: soft }];

test("ordinary lists pass", () => {
  checkArgumentList({
    args: ["sh", "-c", "x".repeat(100_000)],
    env: Array.from({ length: 5000 }, (_, n) => `A${n}=b`),
  });
});

test("what the kernel would not execute is refused", () => {
  const refusal = /exec: "sh": argument list too long/;
  assert.throws(() => checkArgumentList({ args: ["sh", "x".repeat(131_072)], env: [] }), refusal);
  const many = Array.from({ length: 64 }, (_, n) => `A${n}=${"x".repeat(100_000)}`);
  assert.throws(
    () => checkArgumentList({ args: ["sh"], env: many, rlimits: stack(Number.POSITIVE_INFINITY) }),
    refusal,
  );
  assert.throws(() => checkArgumentList({ args: ["sh"], env: many.slice(0, 11), rlimits: stack(4 * MB) }), refusal);
  checkArgumentList({ args: ["sh"], env: many.slice(0, 50), rlimits: stack(Number.POSITIVE_INFINITY) });
});

test("what the kernel would cut short is refused", () => {
  assert.throws(() => checkArgumentList({ args: ["sh\0x"], env: [] }), /exec: "sh\\u0000x": invalid argument/);
  assert.throws(() => checkArgumentList({ args: ["sh"], env: ["A=b\0c"] }), /exec: "sh": invalid argument/);
});

test("the bound is the kernel's own", () => {
  const run = (length: number) => execFileSync("/bin/true", ["x".repeat(length)]);
  run(131_071);
  checkArgumentList({ args: ["true", "x".repeat(131_071)], env: [] });
  assert.throws(() => run(131_072), { code: "E2BIG" });
});

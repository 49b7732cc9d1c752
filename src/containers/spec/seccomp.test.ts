import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProfile, type SeccompContext, toOciSeccomp } from "./seccomp.ts";

const context: SeccompContext = { capabilities: ["CAP_CHOWN"], architecture: "x64", kernel: { major: 5, minor: 10 } };

function names(syscalls: unknown, changes: Partial<SeccompContext> = {}): string[] {
  const profile = parseProfile(JSON.stringify({ defaultAction: "SCMP_ACT_ERRNO", syscalls }));
  return toOciSeccomp(profile, { ...context, ...changes })?.syscalls?.flatMap((rule) => rule.names) ?? [];
}

const rule = (conditions: object) => [{ names: ["x"], action: "SCMP_ACT_ALLOW", ...conditions }];

for (const [what, conditions, holds] of [
  ["nothing asked", {}, true],
  ["empty conditions", { includes: {}, excludes: null }, true],
  ["a capability it has", { includes: { caps: ["CAP_CHOWN"] } }, true],
  ["two capabilities, one missing", { includes: { caps: ["CAP_CHOWN", "CAP_BPF"] } }, false],
  ["excluded by a capability it has", { excludes: { caps: ["CAP_BPF", "CAP_CHOWN"] } }, false],
  ["excluded by a capability it lacks", { excludes: { caps: ["CAP_BPF"] } }, true],
  ["its architecture", { includes: { arches: ["arm64", "amd64"] } }, true],
  ["another architecture", { includes: { arches: ["arm64"] } }, false],
  ["excluded by architecture", { excludes: { arches: ["amd64"] } }, false],
  ["an older kernel", { includes: { minKernel: "4.8" } }, true],
  ["this kernel", { includes: { minKernel: "5.10" } }, true],
  ["a newer kernel", { includes: { minKernel: "5.11" } }, false],
  ["excluded from this kernel on", { excludes: { minKernel: "5.10" } }, false],
] as const) {
  test(`a seccomp rule with ${what} ${holds ? "holds" : "is left out"}`, () => {
    assert.deepEqual(names(rule(conditions)), holds ? ["x"] : []);
  });
}

test("a profile becomes the OCI form with the architectures of this machine", () => {
  const profile = parseProfile(
    JSON.stringify({
      defaultAction: "SCMP_ACT_ERRNO",
      defaultErrnoRet: 38,
      archMap: [{ architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] }],
      syscalls: [
        {
          name: "clone",
          action: "SCMP_ACT_ALLOW",
          args: [{ index: 0, value: 2114060288, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
          comment: "",
        },
        { names: ["bdflush"], action: "SCMP_ACT_ERRNO", args: [], errnoRet: 1, errno: "EPERM" },
      ],
    }),
  );
  assert.deepEqual(toOciSeccomp(profile, context), {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: 38,
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    syscalls: [
      {
        names: ["clone"],
        action: "SCMP_ACT_ALLOW",
        args: [{ index: 0, value: 2114060288, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
      },
      { names: ["bdflush"], action: "SCMP_ACT_ERRNO", errnoRet: 1 },
    ],
  });
});

test("an empty profile filters nothing", () => {
  assert.equal(toOciSeccomp(parseProfile("{}"), context), undefined);
});

for (const text of ["", "[]", '{"syscalls":[{"names":"x"}]}', '{"syscalls":[{"includes":{"minKernel":"five"}}]}']) {
  test(`a profile that reads ${text} is refused`, () => {
    assert.throws(() => parseProfile(text), { kind: "invalid", message: /^Decoding seccomp profile failed/ });
  });
}

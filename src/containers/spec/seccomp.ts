import { readFileSync, statSync } from "node:fs";
import * as v from "valibot";
import { GantryError, messageOf } from "../../base/errors.ts";
import type { SpecSeccomp } from "../../oci/runtime-spec.ts";

const names = v.nullish(v.array(v.string()), []);
const conditions = v.nullish(
  v.object({
    caps: names,
    arches: names,
    minKernel: v.nullish(v.pipe(v.string(), v.regex(/^(\d{1,3}\.\d{1,3})?$/)), ""),
  }),
);
/** Docker's form of a profile, which containers-common shares. */
const profileSchema = v.object({
  defaultAction: v.optional(v.string(), ""),
  defaultErrnoRet: v.nullish(v.number()),
  architectures: names,
  archMap: v.nullish(v.array(v.object({ architecture: v.string(), subArchitectures: names })), []),
  flags: names,
  syscalls: v.nullish(
    v.array(
      v.object({
        name: v.nullish(v.string(), ""),
        names,
        action: v.string(),
        errnoRet: v.nullish(v.number()),
        args: v.nullish(
          v.array(v.object({ index: v.number(), value: v.number(), valueTwo: v.optional(v.number()), op: v.string() })),
          [],
        ),
        includes: conditions,
        excludes: conditions,
      }),
    ),
    [],
  ),
});

export type SeccompProfile = v.InferOutput<typeof profileSchema>;

/** What a profile's conditions are asked about. */
export interface SeccompContext {
  /** The container's bounding set. */
  readonly capabilities: readonly string[];
  /** As Node names it. */
  readonly architecture: string;
  readonly kernel: { readonly major: number; readonly minor: number };
}

/** Go's name of the architecture, which the conditions use, and libseccomp's. */
const ARCHITECTURES: Readonly<Record<string, readonly [string, string]>> = {
  x64: ["amd64", "SCMP_ARCH_X86_64"],
  ia32: ["x86", "SCMP_ARCH_X86"],
  arm64: ["arm64", "SCMP_ARCH_AARCH64"],
  arm: ["arm", "SCMP_ARCH_ARM"],
  ppc64: ["ppc64le", "SCMP_ARCH_PPC64LE"],
  s390x: ["s390x", "SCMP_ARCH_S390X"],
  riscv64: ["riscv64", "SCMP_ARCH_RISCV64"],
  loong64: ["loongarch64", "SCMP_ARCH_LOONGARCH64"],
};

let cached: { readonly path: string; readonly mtimeMs: number; readonly profile: SeccompProfile } | undefined;

/** The profile in a file of the host; parsed again only when the file has changed. */
export function readProfile(path: string): SeccompProfile {
  try {
    const { mtimeMs } = statSync(path);
    if (cached?.path !== path || cached.mtimeMs !== mtimeMs) {
      cached = { path, mtimeMs, profile: parseProfile(readFileSync(path, "utf8")) };
    }
    return cached.profile;
  } catch (error) {
    throw new GantryError("internal", `opening seccomp profile (${path}) failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** A profile from JSON text, such as the docker CLI sends it. */
export function parseProfile(text: string): SeccompProfile {
  try {
    const value: unknown = JSON.parse(text);
    // To valibot a list is an object without entries: a profile that filters nothing.
    if (Array.isArray(value)) throw new TypeError("expected an object, got a list");
    return v.parse(profileSchema, value);
  } catch (error) {
    throw new GantryError("invalid", `Decoding seccomp profile failed: ${messageOf(error)}`, { cause: error });
  }
}

/** The rules that hold for this container, in the OCI form. undefined for a profile that says nothing. */
export function toOciSeccomp(profile: SeccompProfile, context: SeccompContext): SpecSeccomp | undefined {
  if (profile.defaultAction === "" && profile.syscalls.length === 0) return undefined;
  if (profile.architectures.length > 0 && profile.archMap.length > 0) {
    throw new GantryError(
      "invalid",
      "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
    );
  }
  const [goName = "", native = ""] = ARCHITECTURES[context.architecture] ?? [];
  const mapped = profile.archMap.find((row) => row.architecture === native);
  const architectures = mapped === undefined ? profile.architectures : [native, ...mapped.subArchitectures];
  const syscalls: NonNullable<SpecSeccomp["syscalls"]> = [];
  for (const rule of profile.syscalls) {
    if (rule.name !== "" && rule.names.length > 0) {
      throw new GantryError(
        "invalid",
        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
      );
    }
    if (excluded(rule.excludes, goName, context) || !included(rule.includes, goName, context)) continue;
    syscalls.push({
      names: rule.name === "" ? rule.names : [rule.name],
      action: rule.action,
      ...(rule.errnoRet != null && { errnoRet: rule.errnoRet }),
      ...(rule.args.length > 0 && { args: rule.args }),
    });
  }
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet != null && { defaultErrnoRet: profile.defaultErrnoRet }),
    ...(architectures.length > 0 && { architectures }),
    ...(profile.flags.length > 0 && { flags: profile.flags }),
    syscalls,
  };
}

type Conditions = v.InferOutput<typeof conditions>;

/** One match is enough to leave a rule out. */
function excluded(when: Conditions, goName: string, context: SeccompContext): boolean {
  if (when == null) return false;
  return (
    when.arches.includes(goName) ||
    when.caps.some((name) => context.capabilities.includes(name)) ||
    (when.minKernel !== "" && atLeast(context.kernel, when.minKernel))
  );
}

/** All that is asked must hold. */
function included(when: Conditions, goName: string, context: SeccompContext): boolean {
  if (when == null) return true;
  return (
    (when.arches.length === 0 || when.arches.includes(goName)) &&
    when.caps.every((name) => context.capabilities.includes(name)) &&
    (when.minKernel === "" || atLeast(context.kernel, when.minKernel))
  );
}

function atLeast(kernel: SeccompContext["kernel"], wanted: string): boolean {
  const [major = 0, minor = 0] = wanted.split(".").map(Number);
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

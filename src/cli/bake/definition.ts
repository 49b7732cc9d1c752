import type { BakeOptions } from "../../bake/bake.ts";
import { parseBool } from "../../base/parse-bool.ts";
import { callOf } from "../build/call.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { boolFlag, type FlagSpec, listFlag, textFlag } from "../flags/spec.ts";
import { bakeSurroundings } from "./files.ts";

/** Which definitions are read, and what is laid over them. */
export const DEFINITION_FLAGS: readonly FlagSpec[] = [
  listFlag("f,file", "Build definition file"),
  boolFlag("load", 'Shorthand for "--set=*.output=type=docker". Conditional.'),
  boolFlag("no-cache", "Do not use cache when building the image"),
  textFlag("provenance", 'Shorthand for "--set=*.attest=type=provenance"'),
  boolFlag("pull", "Always attempt to pull all referenced images"),
  boolFlag("push", 'Shorthand for "--set=*.output=type=registry". Conditional.'),
  textFlag("sbom", 'Shorthand for "--set=*.attest=type=sbom"'),
  listFlag("set", 'Override target value (e.g., "targetpattern.key=value")'),
  listFlag("var", "Set a variable value (name=value)"),
];

/** How definitions are read. `context` is what BAKE_CMD_CONTEXT says, by default this folder. */
export function bakeOptions(
  flags: ParsedFlags,
  names: readonly string[],
  env: NodeJS.ProcessEnv,
  context?: string,
): BakeOptions {
  return {
    ...surroundingsOf(flags, env),
    ...(context !== undefined && { commandContext: context }),
    names,
    overrides: [...flags.list("set"), ...shorthands(flags)],
  };
}

/** What a definition may know: `--var` lies over the environment. */
export function surroundingsOf(flags: ParsedFlags, env: NodeJS.ProcessEnv): ReturnType<typeof bakeSurroundings> {
  const given = Object.fromEntries(
    flags.list("var").map((row) => [row.split("=")[0]!, row.slice(row.indexOf("=") + 1)]),
  );
  return bakeSurroundings({ ...env, ...given });
}

/** Flags that are short for a `--set` of all targets. */
function shorthands(flags: ParsedFlags): string[] {
  const call = callOf(flags.bool("check") ? "check" : flags.text("call")).name;
  return [
    ...(flags.bool("push") ? ["*.push=true"] : []),
    ...(flags.bool("load") ? ["*.load=true"] : []),
    ...(call !== "build" ? [`*.call=${call}`] : []),
    ...(flags.changed("no-cache") ? [`*.no-cache=${flags.text("no-cache")}`] : []),
    ...(flags.changed("pull") ? [`*.pull=${flags.text("pull")}`] : []),
    ...attestation(flags, "sbom"),
    ...attestation(flags, "provenance"),
  ];
}

function attestation(flags: ParsedFlags, type: "provenance" | "sbom"): string[] {
  const value = flags.text(type);
  if (value === "") return [];
  const isOn = parseBool(value);
  return [`*.attest=type=${type},${isOn === undefined ? value : `disabled=${!isOn}`}`];
}

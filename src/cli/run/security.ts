import { readFileSync } from "node:fs";
import { hasCode, messageOf } from "../../base/errors.ts";
import { cutAt } from "./cut-at.ts";

export interface Security {
  readonly options: string[] | null;
  /** Empty lists unmask everything; null asks for the engine's defaults. */
  readonly maskedPaths: string[] | null;
  readonly readonlyPaths: string[] | null;
}

/** Reads the values of `--security-opt`; a seccomp profile's file is read here, since the engine can't see it. */
export function parseSecurity(values: readonly string[]): Security {
  const options: string[] = [];
  let unmasked = false;
  for (const value of values) {
    let [key, setting] = cutAt(value, "=");
    if (setting === undefined && key !== "no-new-privileges") {
      [key, setting] = cutAt(value, ":");
      if (setting === undefined) throw new Error(`Invalid --security-opt: ${JSON.stringify(value)}`);
    }
    if (value === "systempaths=unconfined") unmasked = true;
    else if (key === "seccomp" && setting !== "unconfined" && setting !== "builtin") {
      options.push(`seccomp=${readProfile(setting ?? "")}`);
    } else options.push(value);
  }
  const none: string[] = [];
  return {
    options: values.length === 0 ? null : options,
    maskedPaths: unmasked ? none : null,
    readonlyPaths: unmasked ? none : null,
  };
}

function readProfile(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = hasCode(error, "ENOENT") ? `open ${path}: no such file or directory` : messageOf(error);
    throw new Error(`opening seccomp profile (${path}) failed: ${why}`);
  }
  try {
    return JSON.stringify(JSON.parse(text));
  } catch (error) {
    throw new Error(`compacting json for seccomp profile (${path}) failed: ${messageOf(error)}`);
  }
}

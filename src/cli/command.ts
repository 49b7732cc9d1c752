import type { EngineClient } from "../client/client.ts";
import type { ParsedFlags } from "./flags/parse.ts";
import type { FlagSpec } from "./flags/spec.ts";
import type { Settings } from "./settings.ts";

/** How many arguments a command takes. */
export type ArgumentRule =
  | { readonly rule: "none" }
  | { readonly rule: "exactly" | "at-least" | "at-most"; readonly count: number }
  | { readonly rule: "between"; readonly count: number; readonly most: number };

/** What a command's code is given. */
export interface Call {
  /** As the user called it: `gantry ps` or `gantry container ls`. */
  readonly name: string;
  readonly flags: ParsedFlags;
  readonly args: readonly string[];
  readonly settings: Settings;
  readonly client: EngineClient;
}

/** A command's own part, loaded only when it is called; its names are in `commands.ts`. */
export interface Command {
  /** What follows the name in the usage line. */
  readonly usage: string;
  readonly args: ArgumentRule;
  readonly flags: readonly FlagSpec[];
  /** False: the first argument ends the flags. */
  readonly interspersed?: boolean;
  /** The longer description, where one line is too little. */
  readonly long?: string;
  /** The API version that the engine must know; a function where the flags decide it. */
  readonly since?: string | ((flags: ParsedFlags) => string | undefined);
  /** Needs no engine: nothing is said about one that cannot be found, and `client` must not be used. */
  readonly offline?: boolean;
  /** Resolves to the exit code; undefined is 0. */
  readonly run: (call: Call) => Promise<number | undefined>;
}

/** Ends the command with this exit code and, unless empty, this text on standard error. */
export class ExitError extends Error {
  override readonly name = "ExitError";
  readonly code: number;

  constructor(code: number, message = "") {
    super(message);
    this.code = code;
  }
}

/** The text of a wrong number of arguments, undefined if it is right. */
export function argumentComplaint(rule: ArgumentRule, count: number): string | undefined {
  if (rule.rule === "none") return count === 0 ? undefined : "accepts no arguments";
  if (rule.rule === "between") {
    if (count >= rule.count && count <= rule.most) return undefined;
    return `requires at least ${rule.count} and at most ${rule.most} arguments`;
  }
  const wrong =
    rule.rule === "exactly" ? count !== rule.count : rule.rule === "at-least" ? count < rule.count : count > rule.count;
  if (!wrong) return undefined;
  const amount = rule.rule === "exactly" ? "" : rule.rule === "at-least" ? "at least " : "at most ";
  return `requires ${amount}${rule.count} argument${rule.count === 1 ? "" : "s"}`;
}

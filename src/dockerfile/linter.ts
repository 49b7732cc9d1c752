import { parseBool } from "../base/parse-bool.ts";
import { checkOfComment } from "./directive.ts";
import { quote, trimSpace } from "./go-text.ts";
import type { LintRule } from "./lint-rules.ts";
import { invalid, type SourceFile, type SourceRange } from "./source.ts";

/** Something legal that is probably not meant. */
export interface LintWarning {
  readonly rule: LintRule;
  readonly message: string;
  readonly source: SourceFile;
  readonly range: SourceRange;
  /** As it is written in these lines. */
  readonly offending?: string;
}

/** Which rules hold: of the `check` directive, of a build argument, of a comment before an instruction. */
export interface LintOptions {
  readonly skip: ReadonlySet<string> | "all";
  readonly experimental: ReadonlySet<string> | "all";
  /** A warning fails the build. */
  readonly error: boolean;
}

/** Nobody reads more. */
const MOST_WARNINGS = 1_000;

const DEFAULT_LINT: LintOptions = { skip: new Set(), experimental: new Set(), error: false };

/** Reads `skip=A,B;error=true;experimental=all`. Throws `invalid`. */
export function readLintOptions(text: string): LintOptions {
  let { skip, experimental, error } = DEFAULT_LINT;
  if (trimSpace(text) === "") return DEFAULT_LINT;
  for (const part of trimSpace(text).split(";")) {
    const equals = part.indexOf("=");
    if (equals < 0) throw invalid(`invalid check option ${quote(part)}`);
    const name = trimSpace(part.slice(0, equals));
    const value = trimSpace(part.slice(equals + 1));
    if (name === "skip") skip = rulesOf(value);
    else if (name === "experimental") experimental = rulesOf(value);
    else if (name !== "error") throw invalid(`invalid check option ${quote(name)}`);
    else {
      const given = parseBool(value);
      if (given === undefined) {
        throw invalid(
          `failed to parse check option ${quote(part)}: strconv.ParseBool: parsing ${quote(value)}: invalid syntax`,
        );
      }
      error = given;
    }
  }
  return { skip, experimental, error };
}

/** Collects warnings of the rules that hold, each once, the first thousand. */
export class Linter {
  readonly #source: SourceFile;
  readonly #options: LintOptions;
  readonly #warnings: Map<string, LintWarning>;

  constructor(source: SourceFile, options: LintOptions, warnings = new Map<string, LintWarning>()) {
    this.#source = source;
    this.#options = options;
    this.#warnings = warnings;
  }

  /** In the order in which they were found. */
  get warnings(): readonly LintWarning[] {
    return [...this.#warnings.values()];
  }

  /** The sentence that ends the build, where warnings are to. */
  get failure(): string | undefined {
    if (!this.#options.error || this.#warnings.size === 0) return undefined;
    const names = new Set(this.warnings.map(({ rule }) => rule.name));
    return `lint violation found for rules: ${[...names].sort().join(", ")}`;
  }

  /** The same linter for an instruction whose comments may have a `check` of their own. */
  withComments(comments: readonly string[]): Linter {
    for (const comment of comments) {
      const text = checkOfComment(comment);
      if (text === undefined) continue;
      const own = optionsOrNone(text);
      if (own === undefined) return this;
      const options = {
        skip: merged(this.#options.skip, own.skip),
        experimental: merged(this.#options.experimental, own.experimental),
        error: this.#options.error,
      };
      return new Linter(this.#source, options, this.#warnings);
    }
    return this;
  }

  /** The same of another file, with that file's own options. */
  ofSource(source: SourceFile, options: LintOptions): Linter {
    return new Linter(source, { ...options, error: this.#options.error }, this.#warnings);
  }

  report(rule: LintRule, message: string, range: SourceRange, offending?: string): void {
    const holds = rule.experimental
      ? contains(this.#options.experimental, rule.name)
      : !contains(this.#options.skip, rule.name);
    if (!holds) return;
    const key = [this.#source.name, rule.name, range.start, range.end, message].join("\0");
    if (this.#warnings.has(key) || this.#warnings.size >= MOST_WARNINGS) return;
    const warning = { rule, message, source: this.#source, range };
    this.#warnings.set(key, offending === undefined ? warning : { ...warning, offending });
  }
}

function rulesOf(value: string): ReadonlySet<string> | "all" {
  return value === "all" ? "all" : new Set(value.split(",").map(trimSpace));
}

/** A comment that only looks like options is a comment. */
function optionsOrNone(text: string): LintOptions | undefined {
  try {
    return readLintOptions(text);
  } catch {
    return undefined;
  }
}

function merged(a: ReadonlySet<string> | "all", b: ReadonlySet<string> | "all"): ReadonlySet<string> | "all" {
  return a === "all" || b === "all" ? "all" : new Set([...a, ...b]);
}

function contains(rules: ReadonlySet<string> | "all", name: string): boolean {
  return rules === "all" || rules.has(name);
}

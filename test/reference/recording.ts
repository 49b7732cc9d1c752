import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { CheckAnswer, Recorded, Recording } from "./record.ts";

/** What BuildKit was recorded to say and make. */
export const RECORDING: Recording = JSON.parse(
  readFileSync(fileURLToPath(new URL("recorded.json", import.meta.url)), "utf8"),
);

const RULE = "-".repeat(20);

/** True of what fails only when it is built. */
export function isLate({ error, check }: Recorded): boolean {
  return error !== undefined && check?.error === undefined;
}

/** What is left to compare where BuildKit tells no place, repeats itself, or has the order of Go's maps. */
export function withoutPlaces(row: Recorded, theirs: Recorded): Recorded {
  const { error, check, warnings, outline, targets, ...rest } = row;
  const hasPlace = theirs.error?.excerpt !== "";
  return ordered({
    ...rest,
    // It isn't asked of every case.
    ...(targets !== undefined && theirs.targets !== undefined && { targets }),
    ...(error !== undefined && {
      error: { message: settled(error.message), excerpt: hasPlace ? firstExcerpt(error.excerpt) : "" },
    }),
    // A build that fails tells its warnings, or does not: that depends on which comes first.
    ...(theirs.error !== undefined && warnings !== undefined && { warnings: [] }),
    ...(check !== undefined && { check: checkWithoutPlaces(check, theirs.check) }),
    ...(outline !== undefined && { outline: byName(outline) }),
  });
}

function checkWithoutPlaces(check: CheckAnswer, theirs: CheckAnswer | undefined): CheckAnswer {
  const hasPlace = !/^(?:-|0) /.test(theirs?.error ?? "");
  const error = check.error === undefined ? undefined : settled(check.error);
  return {
    ...check,
    warnings: [...new Set(check.warnings)],
    ...(error !== undefined && { error: hasPlace ? error : error.replace(/^\S+ /, "") }),
  };
}

/** BuildKit shows one for each place that it goes through. */
function firstExcerpt(text: string): string {
  const at = text.indexOf(`${RULE}\n`, text.indexOf(RULE) + RULE.length);
  return at < 0 ? text : text.slice(0, at + RULE.length + 1);
}

/** Rules that were broken are told in any order; what BuildKit hands on, and to whom, is its own affair. */
export function settled(text: string): string {
  const message = text
    .replace(/^failed to (?:load LLB|marshal LLB definition|load cache key): /, "")
    .replace(/, output: ""$/, "");
  const [, before = message, rules] = /^(.*lint violation found for rules: )(.*)$/s.exec(message) ?? [];
  return rules === undefined ? message : before + rules.split(", ").sort().join(", ");
}

function byName(outline: unknown): unknown {
  const { args, ...rest } = outline as {
    readonly args?: readonly { readonly name: string; readonly location: string }[];
  };
  if (args === undefined) return outline;
  const line = ({ location }: { readonly location: string }): number => Number.parseInt(location, 10);
  return { ...rest, args: args.toSorted((a, b) => line(a) - line(b) || (a.name < b.name ? -1 : 1)) };
}

/** With its keys in order, at any depth. */
function ordered<T>(value: T): T {
  return JSON.parse(JSON.stringify(value), (_, row) => {
    if (typeof row !== "object" || row === null || Array.isArray(row)) return row;
    return Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

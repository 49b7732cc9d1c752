import type { Ingredients, InputIngredients } from "./cache/record.ts";
import type { StepCache } from "./cache/step-cache.ts";
import type { Operation, Vertex } from "./graph.ts";
import type { Explanation } from "./progress.ts";

const MOST_ROWS = 40;
const LONGEST_ROW = 300;
/** Results of one step that are compared with at most: the latest. */
const MOST_CANDIDATES = 50;

export interface Missed {
  readonly vertex: Vertex;
  readonly key: string;
  /** Undefined where the key was known without them. */
  readonly ingredients: Ingredients | undefined;
  /** The cache was not to be asked. */
  readonly isIgnored: boolean;
  /** Names of the inputs that this build ran. */
  readonly ranInputs: readonly string[];
}

interface Comparison {
  readonly definition: readonly string[];
  readonly files: readonly string[];
  readonly inputs: readonly string[];
}

/** Why a step is not in the cache: by what it differs from the one there that is most like it. */
export function explain(cache: Pick<StepCache, "atSite" | "ingredients" | "wasRemoved">, missed: Missed): Explanation {
  const { ingredients, isIgnored, key, ranInputs, vertex } = missed;
  if (isIgnored) {
    const why = vertex.ignoreCache === true || ranInputs.length === 0 ? "" : `: ${ranInputs[0]} was run anew`;
    return { reason: "ignored", text: `the cache was not to be used for it${why}`, diff: [] };
  }
  if (cache.wasRemoved(key)) {
    return { reason: "pruned", text: "its result was removed from the cache", diff: [] };
  }
  const nearest = ingredients === undefined ? undefined : nearestTo(cache, vertex.site, ingredients);
  if (nearest === undefined) return { reason: "never", text: "it was never built here", diff: [] };
  const { definition, files, inputs } = nearest;
  const diff = bounded([...definition, ...files, ...inputs]);
  if (definition.length > 0) return { reason: "definition", text: "what it does has changed", diff };
  if (files.length > 0) return { reason: "files", text: filesText(files), diff };
  if (inputs.length > 0) return { reason: "input", text: "what it stands on has changed", diff };
  return { reason: "never", text: "it was never built here", diff: [] };
}

function nearestTo(
  cache: Pick<StepCache, "atSite" | "ingredients">,
  site: string,
  now: Ingredients,
): Comparison | undefined {
  let best: { readonly weight: number; readonly comparison: Comparison } | undefined;
  for (const key of cache.atSite(site).slice(-MOST_CANDIDATES).toReversed()) {
    const then = cache.ingredients(key);
    if (then === undefined || then.operation.kind !== now.operation.kind) continue;
    const comparison = compare(then, now);
    const weight = 8 * comparison.definition.length + 4 * comparison.inputs.length + comparison.files.length;
    if (weight > 0 && (best === undefined || weight < best.weight)) best = { weight, comparison };
  }
  return best?.comparison;
}

/** By what one step differs from another: rows of a diff. */
export function compare(then: Ingredients, now: Ingredients): Comparison {
  const files: string[] = [];
  const inputs: string[] = [];
  for (const [index, input] of now.inputs.entries()) {
    const former = then.inputs[index];
    if (former === undefined) inputs.push(`+ ${input.name}`);
    else if (input.digest !== undefined && former.digest !== undefined) files.push(...compareFiles(former, input));
    else if (input.key !== former.key || input.digest !== former.digest) {
      if (input.name === former.name) inputs.push(`~ ${input.name}`);
      else inputs.push(`- ${former.name}`, `+ ${input.name}`);
    }
  }
  for (const former of then.inputs.slice(now.inputs.length)) inputs.push(`- ${former.name}`);
  return { definition: compareOperations(then.operation, now.operation), files, inputs };
}

function compareFiles(then: InputIngredients, now: InputIngredients): string[] {
  if (then.digest === now.digest) return [];
  if (then.files === undefined || now.files === undefined) return [`~ files of ${now.name}`];
  const rows: string[] = [];
  for (const [path, digest] of Object.entries(now.files)) {
    if (!Object.hasOwn(then.files, path)) rows.push(`+ ${path}`);
    else if (then.files[path] !== digest) rows.push(`~ ${path}`);
  }
  for (const path of Object.keys(then.files)) if (!Object.hasOwn(now.files, path)) rows.push(`- ${path}`);
  // The same files under another pattern, or a folder's mode.
  return rows.length > 0 ? rows : [`~ files of ${now.name}`];
}

function compareOperations(then: Operation, now: Operation): string[] {
  const former = then as unknown as Record<string, unknown>;
  const current = now as unknown as Record<string, unknown>;
  const rows: string[] = [];
  for (const field of new Set([...Object.keys(former), ...Object.keys(current)])) {
    const [a, b] = [former[field], current[field]];
    if (JSON.stringify(a) === JSON.stringify(b)) continue;
    if (field === "env") rows.push(...diffLines(asTexts(a), asTexts(b), "ENV "));
    else if (field === "args") rows.push(...diffLines(commandLines(a), commandLines(b), "RUN "));
    else if (field === "actions" || field === "mounts") rows.push(...diffLines(asTexts(a), asTexts(b), ""));
    else rows.push(...diffLines(a === undefined ? [] : [asText(a)], b === undefined ? [] : [asText(b)], `${field} `));
  }
  return rows;
}

/** Lines that only one of them has, in their order. */
function diffLines(then: readonly string[], now: readonly string[], prefix: string): string[] {
  const kept = common(then, now);
  const rows: string[] = [];
  let [at, other] = [0, 0];
  for (const line of [...kept, undefined]) {
    while (at < then.length && then[at] !== line) rows.push(`- ${prefix}${then[at++]}`);
    while (other < now.length && now[other] !== line) rows.push(`+ ${prefix}${now[other++]}`);
    at++;
    other++;
  }
  return rows;
}

/** The longest common subsequence; of very long lists only what they begin with alike. */
function common(a: readonly string[], b: readonly string[]): string[] {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  const start = a.slice(0, head);
  const [x, y] = [a.slice(head), b.slice(head)];
  if (x.length * y.length > 250_000) return start;
  const lengths = Array.from({ length: x.length + 1 }, () => new Uint16Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      lengths[i]![j] = x[i] === y[j] ? lengths[i + 1]![j + 1]! + 1 : Math.max(lengths[i + 1]![j]!, lengths[i]![j + 1]!);
    }
  }
  for (let i = 0, j = 0; i < x.length && j < y.length; ) {
    if (x[i] === y[j]) {
      start.push(x[i]!);
      i++;
      j++;
    } else if (lengths[i + 1]![j]! >= lengths[i]![j + 1]!) i++;
    else j++;
  }
  return start;
}

function commandLines(args: unknown): string[] {
  const words = asTexts(args);
  // Of the shell form the command says it all.
  const command = words.length === 3 && words[1] === "-c" ? words[2]! : words.join(" ");
  return command.split("\n");
}

function asTexts(value: unknown): string[] {
  return Array.isArray(value) ? value.map(asText) : value === undefined ? [] : [asText(value)];
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function filesText(files: readonly string[]): string {
  const [first = ""] = files;
  const more = files.length > 1 ? ` and ${files.length - 1} more` : "";
  return `files that it reads have changed: ${first.slice(2)}${more}`.slice(0, LONGEST_ROW);
}

function bounded(rows: readonly string[]): string[] {
  const short = rows
    .slice(0, MOST_ROWS)
    .map((row) => (row.length > LONGEST_ROW ? `${row.slice(0, LONGEST_ROW)}…` : row));
  return rows.length > MOST_ROWS ? [...short, `… and ${rows.length - MOST_ROWS} more`] : short;
}

import { type Step, stepsOf, type Test } from "./linear-pattern-parser.ts";

/** No text times no expression is larger: some hundred milliseconds. */
const MOST_WORK = 20_000_000;

/**
 * An expression in the syntax of Go's `regexp` (RE2; no look-around, no back references), as a test of whether some
 * part of a text matches. It takes linear time as Go's does, where JavaScript's own would let a client that writes
 * `(a|a)*b` hold up the process. Throws SyntaxError for what is no expression or a very large one.
 */
export function linearPattern(source: string): (text: string) => boolean {
  const steps = stepsOf(source);
  return (text) => {
    const characters = [...text];
    if (characters.length * steps.length > MOST_WORK) return false;
    return matches(steps, characters);
  };
}

function matches(steps: readonly Step[], text: readonly string[]): boolean {
  const seen = new Int32Array(steps.length).fill(-1);
  let waiting: { readonly test: Test; readonly next: number }[] = [];
  for (let at = 0; at <= text.length; at++) {
    const reached: typeof waiting = [];
    const previous = text[at - 1];
    const current = text[at];
    const pending = [0];
    for (const { test, next } of waiting) if (previous !== undefined && test(previous)) pending.push(next);
    for (let step = pending.pop(); step !== undefined; step = pending.pop()) {
      if (seen[step] === at) continue;
      seen[step] = at;
      const what = steps[step]!;
      if (what.is === "match") return true;
      if (what.is === "fork") pending.push(...what.to);
      else if (what.is === "take") reached.push({ test: what.test, next: step + 1 });
      else if (what.test(previous, current)) pending.push(step + 1);
    }
    waiting = reached;
  }
  return false;
}

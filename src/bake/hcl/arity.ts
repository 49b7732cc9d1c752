import { type Value, ValueError } from "./value.ts";

type Run = (...args: Value[]) => Value;

/** A function that takes so many arguments; `most` is Infinity for any number. */
export function takes(least: number, most: number, run: Run): (args: readonly Value[]) => Value {
  return (args) => {
    if (args.length < least) throw new ValueError(`not enough arguments: it takes ${wanted(least, most)}`);
    if (args.length > most) throw new ValueError(`too many arguments: it takes ${wanted(least, most)}`);
    return run(...args);
  };
}

function wanted(least: number, most: number): string {
  if (least === most) return String(least);
  return most === Number.POSITIVE_INFINITY ? `at least ${least}` : `${least} to ${most}`;
}

import { listFlag } from "../flags/spec.ts";

/** `-a key=value`, as cosign has it. */
export function annotationsFlag(usage: string): ReturnType<typeof listFlag> {
  return listFlag("a,annotations", usage, {
    check: (text) => {
      if (text.indexOf("=") <= 0) throw new Error(`${JSON.stringify(text)} is not of the form key=value`);
      return text;
    },
  });
}

/** The last of several values of a key counts. */
export function annotationsOf(given: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    given.map((text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)] as const),
  );
}

import type { ImageConfig } from "../../src/oci/image.ts";

/** What BuildKit says of a case, and what it makes of it. */
export interface Recorded {
  /** The last line that a person sees, without what says that it failed; and the lines of the file that are shown. */
  readonly error?: { readonly message: string; readonly excerpt: string };
  /** `line–line rule: text`, in the order of their lines. */
  readonly warnings?: readonly string[];
  readonly check?: CheckAnswer;
  /** Without what it says of places and sources; undefined where it isn't asked. */
  readonly outline?: unknown;
  readonly targets?: unknown;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly history?: readonly string[];
  /** As `linesOver`, of a case that is built. */
  readonly files?: readonly string[];
}

export interface CheckAnswer {
  readonly code: number;
  /** As `warnings`. */
  readonly warnings: readonly string[];
  readonly error?: string;
}

/** The file `recorded.json`. */
export interface Recording {
  /** Of busybox. */
  readonly base: ImageConfig;
  /** Description and address of each rule that some case breaks. */
  readonly rules: Readonly<Record<string, readonly [description: string, url: string]>>;
  readonly cases: Readonly<Record<string, Recorded>>;
}

interface Range {
  readonly start: { readonly line?: number };
  readonly end: { readonly line?: number };
}

/** A range of lines as both sides write it. */
export function linesOf(ranges: readonly Range[] | undefined): string {
  const lines = (ranges ?? []).flatMap(({ start, end }) => [start.line ?? 0, end.line ?? 0]);
  if (lines.length === 0) return "-";
  const [first, last] = [Math.min(...lines), Math.max(...lines)];
  return first === last ? String(first) : `${first}-${last}`;
}

/** In an order of their own: some of BuildKit's are found in that of Go's maps. */
export function sorted(rows: readonly string[]): string[] {
  return rows.toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1));
}

/** A message without what is another in each build. */
export function withoutIds(message: string): string {
  return (
    message
      .replace(/(checksum of ref )\S+:(?= )/g, "$1…:")
      // Where BuildKit has the files that it works on.
      .replace(/\/\S*\/cachemounts\/buildkit\d+(?=\/)/g, "")
      .trim()
  );
}

/** An answer with places as lines. */
export function withLines(answer: unknown): unknown {
  return JSON.parse(JSON.stringify(answer), (key, value) => (key === "location" ? linesOf(value?.ranges) : value));
}

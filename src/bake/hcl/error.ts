import { GantryError } from "../../base/errors.ts";
import type { Source, Span } from "./syntax.ts";

/** What is wrong with a file and where, in the form of HCL's own tools. */
export class HclError extends GantryError {
  readonly source: Source;
  /** Lines that it is about, from 1. */
  readonly range: { readonly start: number; readonly end: number };

  constructor(source: Source, span: Span, summary: string, detail: string) {
    super("invalid", `${placeOf(source, span)}: ${summary}; ${detail}`);
    this.name = "HclError";
    this.source = source;
    const line = (offset: number): number => lineAndColumn(source.text, offset).line;
    this.range = { start: line(span.start), end: line(span.end) };
  }
}

/** `docker-bake.hcl:3,5-9`, or `…:3,5-4,1` over lines. */
export function placeOf({ name, text }: Source, { start, end }: Span): string {
  const from = lineAndColumn(text, start);
  const to = lineAndColumn(text, end);
  const last = to.line === from.line ? `${to.column}` : `${to.line},${to.column}`;
  return `${name}:${from.line},${from.column}-${last}`;
}

function lineAndColumn(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf("\n") + 1;
  return { line: before.split("\n").length, column: [...before.slice(lineStart)].length + 1 };
}

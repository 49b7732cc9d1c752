import { HclError, placeOf } from "./error.ts";
import type { Source, Span } from "./syntax.ts";

/** Expressions deeper than this are no person's. */
const MAX_DEPTH = 200;
const NAME = /[\p{ID_Start}_][\p{ID_Continue}-]*/uy;

/** A text and how far it is read: names, tokens, white space and comments. */
export abstract class Scanner {
  protected readonly source: Source;
  protected readonly text: string;
  /** What errors tell of, if it isn't the text itself. */
  readonly #outer: { readonly source: Source; readonly span: Span } | undefined;
  protected at = 0;
  protected depth = 0;
  /** Whether an end of line ends what is being read. */
  protected linesEnd = true;

  constructor(source: Source, outer?: { readonly source: Source; readonly span: Span }) {
    this.source = source;
    this.text = source.text;
    this.#outer = outer;
  }

  protected name(): string | undefined {
    NAME.lastIndex = this.at;
    const name = NAME.exec(this.text)?.[0];
    if (name !== undefined) this.at += name.length;
    return name;
  }

  protected take(token: string): boolean {
    if (!this.text.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }

  protected expect(token: string): void {
    if (this.take(token)) return;
    throw this.error("Invalid expression", `Expected "${token}" here.`);
  }

  /** Within brackets, where ends of lines are white space. */
  protected loose<T>(act: () => T): T {
    const linesEnd = this.linesEnd;
    this.linesEnd = false;
    const result = act();
    this.linesEnd = linesEnd;
    return result;
  }

  protected skip(): void {
    this.skipBlank(!this.linesEnd);
  }

  protected skipLines(): void {
    this.skipBlank(true);
  }

  /** White space and comments. A comment to the end of a line leaves that end. */
  protected skipBlank(lines: boolean): void {
    for (;;) {
      const next = this.text[this.at];
      if (next === " " || next === "\t" || (lines && (next === "\n" || next === "\r"))) {
        this.at++;
      } else if (next === "#" || this.text.startsWith("//", this.at)) {
        const end = this.text.indexOf("\n", this.at);
        this.at = end < 0 ? this.text.length : end;
        if (!lines) return;
      } else if (this.text.startsWith("/*", this.at)) {
        const end = this.text.indexOf("*/", this.at + 2);
        if (end < 0) throw this.error("Unterminated comment", "This comment has no end.");
        this.at = end + 2;
      } else {
        return;
      }
    }
  }

  protected enter(): void {
    if (++this.depth > MAX_DEPTH) {
      throw this.error("Invalid expression", `It is nested deeper than ${MAX_DEPTH} levels.`);
    }
  }

  protected error(summary: string, detail: string, span: Span = { start: this.at, end: this.at + 1 }): HclError {
    if (this.#outer !== undefined) return new HclError(this.#outer.source, this.#outer.span, summary, detail);
    return new HclError(this.source, span, summary, detail);
  }

  protected placeOf(span: Span): string {
    return placeOf(this.source, span);
  }
}

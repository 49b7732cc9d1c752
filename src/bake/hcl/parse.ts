import { ExpressionParser } from "./expression-parser.ts";
import type { Attribute, Block, Body, Expression, Source, Span } from "./syntax.ts";
import { ESCAPES } from "./template-parser.ts";

/** Reads a file in HCL's native syntax. Throws an `HclError`. */
export function parseHcl(source: Source): Body {
  return new FileParser(source).file();
}

/** Reads a string of HCL's JSON syntax, which is a template without escapes. */
export function parseTemplate(source: Source, text: string, span: Span): Expression {
  return new ExpressionParser({ name: source.name, text }, { source, span }).template();
}

/** Bodies: attributes and blocks. */
class FileParser extends ExpressionParser {
  file(): Body {
    if (this.text.startsWith("\ufeff")) this.at = 1;
    const body = this.body();
    if (this.at < this.text.length) {
      throw this.error("Argument or block definition required", "An argument or block definition is required here.");
    }
    return body;
  }

  protected body(): Body {
    const attributes = new Map<string, Attribute>();
    const blocks: Block[] = [];
    for (;;) {
      this.skipLines();
      const start = this.at;
      const name = this.name();
      if (name === undefined) break;
      const nameSpan = { start, end: this.at };
      this.skip();
      if (this.text[this.at] === "=" && this.text[this.at + 1] !== "=") {
        this.at++;
        const value = this.expression();
        if (attributes.has(name)) {
          const former = this.placeOf(attributes.get(name)!.nameSpan);
          const detail = `The argument "${name}" was already set at ${former}. Each argument may be set only once.`;
          throw this.error("Attribute redefined", detail, nameSpan);
        }
        attributes.set(name, { name, nameSpan, value });
        this.endOfDefinition();
      } else {
        blocks.push(this.block(name, nameSpan));
      }
    }
    return { source: this.source, attributes, blocks };
  }

  protected block(type: string, typeSpan: Span): Block {
    const labels: string[] = [];
    const labelSpans: Span[] = [];
    let brace: number;
    for (;;) {
      this.skip();
      const at = this.at;
      brace = at;
      if (this.take("{")) break;
      if (this.text[at] === '"') {
        this.at++;
        const end = this.plainStringEnd();
        labels.push(unescapeLabel(this.text.slice(at + 1, end)));
        this.at = end + 1;
        labelSpans.push({ start: at, end: this.at });
        continue;
      }
      const label = this.name();
      if (label === undefined) {
        throw this.error(
          "Invalid block definition",
          'Either a quoted string block label or an opening brace ("{") is expected here.',
        );
      }
      labels.push(label);
      labelSpans.push({ start: at, end: this.at });
    }
    this.enter();
    const linesEnd = this.linesEnd;
    this.linesEnd = true;
    const first = /\S/.exec(this.text.slice(this.at))?.index ?? 0;
    const isOneLine = !this.text.slice(this.at, this.at + first).includes("\n");
    const start = isOneLine ? this.at + first : brace;
    const body = this.body();
    this.linesEnd = linesEnd;
    this.depth--;
    if (!this.take("}")) {
      throw this.error(
        this.at >= this.text.length ? "Unclosed configuration block" : "Argument or block definition required",
        this.at >= this.text.length
          ? "There is no closing brace for this block before the end of the file."
          : "An argument or block definition is required here.",
        this.at >= this.text.length ? typeSpan : undefined,
      );
    }
    this.endOfDefinition();
    return { type, typeSpan, labels, labelSpans, start, body };
  }

  /** An end of line, of the file, or of a block on one line. */
  protected endOfDefinition(): void {
    this.skip();
    const next = this.text[this.at];
    if (next === undefined || next === "\n" || next === "\r" || next === "}") return;
    throw this.error("Missing newline after argument", "An argument definition must end with a newline.");
  }

  protected plainStringEnd(): number {
    for (let at = this.at; at < this.text.length; at++) {
      if (this.text[at] === "\\") at++;
      else if (this.text[at] === '"') return at;
      else if (this.text[at] === "\n") break;
    }
    throw this.error("Invalid string literal", "A quoted label must end on its line.");
  }
}

function unescapeLabel(text: string): string {
  return text.replace(/\\(.)/g, (_, character: string) => ESCAPES[character] ?? character);
}

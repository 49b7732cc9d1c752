import { HclError } from "./error.ts";
import type { Attribute, BinaryOperator, Block, Body, Expression, ObjectItem, Source, Span } from "./syntax.ts";
import { joinParts, type Piece, stripHeredoc } from "./template.ts";

/** Expressions deeper than this are no person's. */
const MAX_DEPTH = 200;
const NAME = /[\p{ID_Start}_][\p{ID_Continue}-]*/uy;
const NUMBER = /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LEVELS: readonly (readonly BinaryOperator[])[] = [
  ["||"],
  ["&&"],
  ["==", "!="],
  ["<=", ">=", "<", ">"],
  ["+", "-"],
  ["*", "/", "%"],
];
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\" };

/** Reads a file in HCL's native syntax. Throws an `HclError`. */
export function parseHcl(source: Source): Body {
  return new Parser(source).file();
}

/** Reads a string of HCL's JSON syntax, which is a template without escapes. */
export function parseTemplate(source: Source, text: string, span: Span): Expression {
  return new Parser({ name: source.name, text }, { source, span }).template();
}

class Parser {
  readonly #source: Source;
  readonly #text: string;
  /** What errors tell of, if it isn't the text itself. */
  readonly #outer: { readonly source: Source; readonly span: Span } | undefined;
  #at = 0;
  #depth = 0;
  /** Whether an end of line ends what is being read. */
  #linesEnd = true;

  constructor(source: Source, outer?: { readonly source: Source; readonly span: Span }) {
    this.#source = source;
    this.#text = source.text;
    this.#outer = outer;
  }

  file(): Body {
    if (this.#text.startsWith("\ufeff")) this.#at = 1;
    const body = this.#body();
    if (this.#at < this.#text.length) {
      throw this.#error("Argument or block definition required", "An argument or block definition is required here.");
    }
    return body;
  }

  template(): Expression {
    const pieces = this.#pieces(() => this.#at >= this.#text.length, false);
    return joinParts(pieces, { start: 0, end: this.#text.length }, (piece, why) => this.#pieceError(piece, why));
  }

  #body(): Body {
    const attributes = new Map<string, Attribute>();
    const blocks: Block[] = [];
    for (;;) {
      this.#skipLines();
      const start = this.#at;
      const name = this.#name();
      if (name === undefined) break;
      const nameSpan = { start, end: this.#at };
      this.#skip();
      if (this.#text[this.#at] === "=" && this.#text[this.#at + 1] !== "=") {
        this.#at++;
        const value = this.#expression();
        if (attributes.has(name)) {
          throw this.#error("Attribute redefined", `The argument "${name}" was already set.`, nameSpan);
        }
        attributes.set(name, { name, nameSpan, value });
        this.#endOfDefinition();
      } else {
        blocks.push(this.#block(name, nameSpan));
      }
    }
    return { source: this.#source, attributes, blocks };
  }

  #block(type: string, typeSpan: Span): Block {
    const labels: string[] = [];
    for (;;) {
      this.#skip();
      const at = this.#at;
      if (this.#take("{")) break;
      if (this.#text[at] === '"') {
        this.#at++;
        const end = this.#plainStringEnd();
        labels.push(unescapeLabel(this.#text.slice(at + 1, end)));
        this.#at = end + 1;
        continue;
      }
      const label = this.#name();
      if (label === undefined) {
        throw this.#error(
          "Invalid block definition",
          'Either a quoted string block label or an opening brace ("{") is expected here.',
        );
      }
      labels.push(label);
    }
    this.#enter();
    const linesEnd = this.#linesEnd;
    this.#linesEnd = true;
    const body = this.#body();
    this.#linesEnd = linesEnd;
    this.#depth--;
    if (!this.#take("}")) {
      throw this.#error(
        this.#at >= this.#text.length ? "Unclosed configuration block" : "Argument or block definition required",
        this.#at >= this.#text.length
          ? "There is no closing brace for this block before the end of the file."
          : "An argument or block definition is required here.",
        this.#at >= this.#text.length ? typeSpan : undefined,
      );
    }
    this.#endOfDefinition();
    return { type, typeSpan, labels, body };
  }

  /** An end of line, of the file, or of a block on one line. */
  #endOfDefinition(): void {
    this.#skip();
    const next = this.#text[this.#at];
    if (next === undefined || next === "\n" || next === "\r" || next === "}") return;
    throw this.#error("Missing newline after argument", "An argument definition must end with a newline.");
  }

  #plainStringEnd(): number {
    for (let at = this.#at; at < this.#text.length; at++) {
      if (this.#text[at] === "\\") at++;
      else if (this.#text[at] === '"') return at;
      else if (this.#text[at] === "\n") break;
    }
    throw this.#error("Invalid string literal", "A quoted label must end on its line.");
  }

  #expression(): Expression {
    this.#enter();
    const test = this.#binary(0);
    this.#skip();
    if (!this.#take("?")) {
      this.#depth--;
      return test;
    }
    const yes = this.#loose(() => this.#expression());
    this.#skipLines();
    if (!this.#take(":")) {
      throw this.#error(
        "Missing false expression in conditional",
        "The conditional operator (...?...:...) requires a false expression, delimited by a colon.",
      );
    }
    const no = this.#expression();
    this.#depth--;
    return { kind: "conditional", test, yes, no, span: between(test, no) };
  }

  #binary(level: number): Expression {
    const operators = LEVELS[level];
    if (operators === undefined) return this.#unary();
    let left = this.#binary(level + 1);
    for (;;) {
      this.#skip();
      const operator = operators.find((each) => this.#text.startsWith(each, this.#at));
      if (operator === undefined) return left;
      this.#at += operator.length;
      this.#skipLines();
      const right = this.#binary(level + 1);
      left = { kind: "binary", operator, left, right, span: between(left, right) };
    }
  }

  #unary(): Expression {
    this.#skip();
    const start = this.#at;
    const operator = this.#text[start];
    if (operator !== "-" && !(operator === "!" && this.#text[start + 1] !== "=")) return this.#postfix();
    this.#at++;
    this.#enter();
    const operand = this.#unary();
    this.#depth--;
    return { kind: "unary", operator: operator as "-" | "!", operand, span: { start, end: this.#at } };
  }

  #postfix(): Expression {
    return this.#traversal(this.#term());
  }

  /** What follows a term: `.name`, `.0`, `[key]`, `.*`, `[*]`. */
  #traversal(first: Expression): Expression {
    let of = first;
    const span = () => ({ start: first.span.start, end: this.#at });
    for (;;) {
      const next = this.#text[this.#at];
      if (next === "." && this.#text[this.#at + 1] === "*") {
        this.#at += 2;
        const each = this.#namesAfter({ kind: "element", span: span() });
        of = { kind: "splat", of, each, span: span() };
      } else if (next === "." && !this.#text.startsWith("...", this.#at)) {
        of = this.#dot(of);
      } else if (next === "[") {
        this.#at++;
        const star = this.#loose(() => {
          this.#skipLines();
          return this.#take("*");
        });
        if (star) {
          this.#skipLines();
          this.#expect("]");
          const each = this.#traversal({ kind: "element", span: span() });
          of = { kind: "splat", of, each, span: span() };
          continue;
        }
        const key = this.#loose(() => this.#expression());
        this.#skipLines();
        this.#expect("]");
        of = { kind: "index", of, key, span: span() };
      } else {
        return of;
      }
    }
  }

  #namesAfter(first: Expression): Expression {
    let of = first;
    while (this.#text[this.#at] === "." && this.#text[this.#at + 1] !== "*") of = this.#dot(of);
    return of;
  }

  #dot(of: Expression): Expression {
    this.#at++;
    const start = this.#at;
    const digits = /\d+/y;
    digits.lastIndex = start;
    const number = digits.exec(this.#text)?.[0];
    if (number !== undefined) {
      this.#at += number.length;
      const key: Expression = { kind: "literal", value: Number(number), span: { start, end: this.#at } };
      return { kind: "index", of, key, span: { start: of.span.start, end: this.#at } };
    }
    const name = this.#name();
    if (name === undefined) {
      throw this.#error("Invalid attribute name", "An attribute name is required after a dot.");
    }
    return { kind: "attribute", of, name, span: { start: of.span.start, end: this.#at } };
  }

  #term(): Expression {
    this.#skip();
    const start = this.#at;
    const next = this.#text[start];
    if (next === '"') return this.#quoted();
    if (next === "(") return this.#parenthesis();
    if (next === "[") return this.#tuple();
    if (next === "{") return this.#object();
    if (this.#text.startsWith("<<", start)) return this.#heredoc();
    NUMBER.lastIndex = start;
    const number = NUMBER.exec(this.#text)?.[0];
    if (number !== undefined) {
      this.#at += number.length;
      return { kind: "literal", value: Number(number), span: { start, end: this.#at } };
    }
    const name = this.#name();
    if (name === undefined) {
      throw this.#error(
        "Invalid expression",
        "Expected the start of an expression, but found an invalid expression token.",
      );
    }
    const span = { start, end: this.#at };
    if (this.#text[this.#at] === "(") return this.#call(name, start);
    if (name === "true" || name === "false") return { kind: "literal", value: name === "true", span };
    if (name === "null") return { kind: "literal", value: null, span };
    return { kind: "variable", name, span };
  }

  #parenthesis(): Expression {
    this.#at++;
    const inner = this.#loose(() => this.#expression());
    this.#skipLines();
    this.#expect(")");
    return inner;
  }

  #call(name: string, start: number): Expression {
    this.#at++;
    const args: Expression[] = [];
    let expands = false;
    this.#loose(() => {
      for (;;) {
        this.#skipLines();
        if (this.#take(")")) return;
        if (expands) throw this.#error("Invalid expansion argument", "An expanded argument must be the last one.");
        args.push(this.#expression());
        this.#skipLines();
        expands = this.#take("...");
        this.#skipLines();
        if (this.#take(",")) continue;
        if (this.#take(")")) return;
        throw this.#error(
          "Missing argument separator",
          "A comma is required to separate each function argument from the next.",
        );
      }
    });
    return { kind: "call", name, args, expands, span: { start, end: this.#at } };
  }

  #tuple(): Expression {
    const start = this.#at++;
    return this.#loose(() => {
      const loop = this.#forExpression(start, "]");
      if (loop !== undefined) return loop;
      const items: Expression[] = [];
      for (;;) {
        this.#skipLines();
        if (this.#take("]")) break;
        items.push(this.#expression());
        this.#skipLines();
        if (this.#take(",")) continue;
        if (this.#take("]")) break;
        throw this.#error("Missing item separator", "Expected a comma to mark the beginning of the next item.");
      }
      return { kind: "tuple", items, span: { start, end: this.#at } };
    });
  }

  #object(): Expression {
    const start = this.#at++;
    const loop = this.#loose(() => this.#forExpression(start, "}"));
    if (loop !== undefined) return loop;
    const linesEnd = this.#linesEnd;
    this.#linesEnd = true;
    const items: ObjectItem[] = [];
    for (;;) {
      this.#skipLines();
      if (this.#take("}")) break;
      items.push(this.#objectItem());
      this.#skip();
      if (this.#take(",")) continue;
      const next = this.#text[this.#at];
      if (next === "\n" || next === "\r" || next === "}") continue;
      throw this.#error(
        "Missing attribute separator",
        "Expected a newline or comma to mark the beginning of the next attribute.",
      );
    }
    this.#linesEnd = linesEnd;
    return { kind: "object", items, span: { start, end: this.#at } };
  }

  #objectItem(): ObjectItem {
    const start = this.#at;
    const bare = this.#name();
    if (bare !== undefined) {
      const span = { start, end: this.#at };
      this.#skip();
      if (this.#takeAssignment()) {
        return { key: { kind: "literal", value: bare, span }, value: this.#expression() };
      }
      this.#at = start;
    }
    const key = this.#expression();
    this.#skip();
    if (!this.#takeAssignment()) {
      throw this.#error("Missing attribute value", 'Expected an attribute value, introduced by an equals sign ("=").');
    }
    return { key, value: this.#expression() };
  }

  #takeAssignment(): boolean {
    if (this.#text.startsWith("==", this.#at)) return false;
    return this.#take("=") || this.#take(":");
  }

  /** `for k, v in all : key => value... if test`, after the opening bracket. */
  #forExpression(start: number, close: "]" | "}"): Expression | undefined {
    this.#skipLines();
    const before = this.#at;
    if (this.#name() !== "for") {
      this.#at = before;
      return undefined;
    }
    this.#skipLines();
    const first = this.#name();
    if (first === undefined) {
      this.#at = before;
      return undefined;
    }
    this.#skipLines();
    const second = this.#take(",") ? this.#nameAfterLines() : undefined;
    this.#skipLines();
    if (this.#name() !== "in")
      throw this.#error("Invalid 'for' expression", "For expression requires the 'in' keyword.");
    const collection = this.#expression();
    this.#skipLines();
    this.#expect(":");
    let value = this.#expression();
    this.#skipLines();
    let key: Expression | undefined;
    if (this.#take("=>")) {
      key = value;
      value = this.#expression();
      this.#skipLines();
    }
    const groups = this.#take("...");
    this.#skipLines();
    const beforeIf = this.#at;
    let condition: Expression | undefined;
    if (this.#name() === "if") condition = this.#expression();
    else this.#at = beforeIf;
    this.#skipLines();
    this.#expect(close);
    if ((close === "}") !== (key !== undefined)) {
      throw this.#error(
        "Invalid 'for' expression",
        close === "}"
          ? "A key expression is required when building an object."
          : "Key expression is not valid when building a tuple.",
      );
    }
    const [keyName, valueName] = second === undefined ? [undefined, first] : [first, second];
    const span = { start, end: this.#at };
    return { kind: "for", keyName, valueName, collection, key, value, condition, groups, span };
  }

  #nameAfterLines(): string {
    this.#skipLines();
    const name = this.#name();
    if (name === undefined) throw this.#error("Invalid 'for' expression", "For expression requires a variable name.");
    return name;
  }

  #quoted(): Expression {
    const start = this.#at++;
    const pieces = this.#pieces(() => this.#text[this.#at] === '"', true);
    this.#at++;
    return joinParts(pieces, { start, end: this.#at }, (piece, why) => this.#pieceError(piece, why));
  }

  #heredoc(): Expression {
    const start = this.#at;
    const opening = /<<(-?)([\p{ID_Start}_][\p{ID_Continue}-]*)\r?\n/uy;
    opening.lastIndex = start;
    const match = opening.exec(this.#text);
    if (match === null) {
      throw this.#error("Invalid expression", "A heredoc begins with << or <<-, its marker and a new line.");
    }
    const [whole, dash = "", marker = ""] = match;
    this.#at += whole.length;
    const closing = new RegExp(`^[ \\t]*${marker.replace(/-/g, "\\-")}[ \\t]*(?=\\r?$)`, "mu");
    const found = closing.exec(this.#text.slice(this.#at));
    if (found === null) {
      throw this.#error("Unterminated template string", `No line has the marker ${marker} alone.`, {
        start,
        end: start + whole.length,
      });
    }
    const end = this.#at + found.index;
    const pieces = this.#pieces(() => this.#at >= end, false, end);
    this.#at = end + found[0].length;
    const stripped = dash === "" ? pieces : stripHeredoc(pieces);
    return joinParts(stripped, { start, end: this.#at }, (piece, why) => this.#pieceError(piece, why));
  }

  /** Text, `${…}` and `%{…}` up to where `isEnd` says; `escapes` are those of quoted strings. */
  #pieces(isEnd: () => boolean, escapes: boolean, limit = this.#text.length): Piece[] {
    const pieces: Piece[] = [];
    let text = "";
    const flush = (): void => {
      if (text !== "") pieces.push({ kind: "text", text });
      text = "";
    };
    while (!isEnd()) {
      const at = this.#at;
      const next = this.#text[at];
      if (at >= limit || next === undefined || (escapes && (next === "\n" || next === "\r"))) {
        throw this.#error(
          "Invalid multi-line string",
          "Quoted strings may not be split over multiple lines. To produce a multi-line string, either use the \\n " +
            'escape to represent a newline character or use the "heredoc" multi-line template syntax.',
        );
      }
      if ((next === "$" || next === "%") && this.#text[at + 1] === next && this.#text[at + 2] === "{") {
        text += `${next}{`;
        this.#at += 3;
      } else if ((next === "$" || next === "%") && this.#text[at + 1] === "{") {
        flush();
        pieces.push(next === "$" ? this.#interpolation() : this.#directive());
      } else if (escapes && next === "\\") {
        text += this.#escape();
      } else {
        text += next;
        this.#at++;
      }
    }
    flush();
    return pieces;
  }

  #escape(): string {
    const kind = this.#text[this.#at + 1] ?? "";
    const length = { u: 4, U: 8 }[kind];
    if (length !== undefined) {
      const digits = this.#text.slice(this.#at + 2, this.#at + 2 + length);
      const code = /^[0-9a-fA-F]+$/.test(digits) && digits.length === length ? Number.parseInt(digits, 16) : -1;
      if (code < 0 || code > 0x10ffff)
        throw this.#error("Invalid escape sequence", "It needs hex digits of a code point.");
      this.#at += 2 + length;
      return String.fromCodePoint(code);
    }
    const character = ESCAPES[kind];
    if (character === undefined) {
      throw this.#error("Invalid escape sequence", `The symbol "${kind}" is not a valid escape sequence selector.`, {
        start: this.#at,
        end: this.#at + 2,
      });
    }
    this.#at += 2;
    return character;
  }

  #interpolation(): Piece {
    const start = this.#at;
    this.#at += 2;
    const before = this.#take("~");
    const value = this.#loose(() => this.#expression());
    this.#skipLines();
    const after = this.#take("~");
    this.#expect("}");
    return { kind: "value", value, strips: { before, after }, span: { start, end: this.#at } };
  }

  #directive(): Piece {
    const start = this.#at;
    this.#at += 2;
    const before = this.#take("~");
    return this.#loose(() => {
      this.#skipLines();
      const word = this.#name();
      const end = (): { strips: { before: boolean; after: boolean }; span: Span } => {
        this.#skipLines();
        const after = this.#take("~");
        this.#expect("}");
        return { strips: { before, after }, span: { start, end: this.#at } };
      };
      if (word === "if") return { kind: "if", test: this.#expression(), ...end() };
      if (word === "else" || word === "endif" || word === "endfor") return { kind: word, ...end() };
      if (word !== "for") {
        throw this.#error("Invalid template directive", "The directives are if, else, endif, for and endfor.");
      }
      const first = this.#nameAfterLines();
      this.#skipLines();
      const second = this.#take(",") ? this.#nameAfterLines() : undefined;
      this.#skipLines();
      if (this.#name() !== "in") throw this.#error("Invalid 'for' directive", "It requires the 'in' keyword.");
      const [keyName, valueName] = second === undefined ? [undefined, first] : [first, second];
      return { kind: "for", keyName, valueName, collection: this.#expression(), ...end() };
    });
  }

  #name(): string | undefined {
    NAME.lastIndex = this.#at;
    const name = NAME.exec(this.#text)?.[0];
    if (name !== undefined) this.#at += name.length;
    return name;
  }

  #take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  #expect(token: string): void {
    if (this.#take(token)) return;
    throw this.#error("Invalid expression", `Expected "${token}" here.`);
  }

  /** Within brackets, where ends of lines are white space. */
  #loose<T>(act: () => T): T {
    const linesEnd = this.#linesEnd;
    this.#linesEnd = false;
    const result = act();
    this.#linesEnd = linesEnd;
    return result;
  }

  #skip(): void {
    this.#skipBlank(!this.#linesEnd);
  }

  #skipLines(): void {
    this.#skipBlank(true);
  }

  /** White space and comments. A comment to the end of a line leaves that end. */
  #skipBlank(lines: boolean): void {
    for (;;) {
      const next = this.#text[this.#at];
      if (next === " " || next === "\t" || (lines && (next === "\n" || next === "\r"))) {
        this.#at++;
      } else if (next === "#" || this.#text.startsWith("//", this.#at)) {
        const end = this.#text.indexOf("\n", this.#at);
        this.#at = end < 0 ? this.#text.length : end;
        if (!lines) return;
      } else if (this.#text.startsWith("/*", this.#at)) {
        const end = this.#text.indexOf("*/", this.#at + 2);
        if (end < 0) throw this.#error("Unterminated comment", "This comment has no end.");
        this.#at = end + 2;
      } else {
        return;
      }
    }
  }

  #enter(): void {
    if (++this.#depth > MAX_DEPTH) {
      throw this.#error("Invalid expression", `It is nested deeper than ${MAX_DEPTH} levels.`);
    }
  }

  #pieceError(piece: Piece | undefined, why: string): HclError {
    const span = piece !== undefined && piece.kind !== "text" ? piece.span : undefined;
    return this.#error("Invalid template directive", why, span);
  }

  #error(summary: string, detail: string, span: Span = { start: this.#at, end: this.#at + 1 }): HclError {
    if (this.#outer !== undefined) return new HclError(this.#outer.source, this.#outer.span, summary, detail);
    return new HclError(this.#source, span, summary, detail);
  }
}

function between(first: Expression, last: Expression): Span {
  return { start: first.span.start, end: last.span.end };
}

function unescapeLabel(text: string): string {
  return text.replace(/\\(.)/g, (_, character: string) => ESCAPES[character] ?? character);
}

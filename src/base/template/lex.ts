/** The template is malformed or cannot be evaluated; `message` has Go's form. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
}

export type TokenKind =
  | "text"
  | "left"
  | "right"
  | "field"
  | "variable"
  | "identifier"
  | "keyword"
  | "bool"
  | "number"
  | "string"
  | "char"
  | "dot"
  | "pipe"
  | "assign"
  | "declare"
  | "comma"
  | "open"
  | "close"
  | "sign"
  | "error"
  | "end";

export interface Token {
  readonly kind: TokenKind;
  /** As it is written; of an error what is wrong. */
  readonly text: string;
  readonly at: number;
  readonly line: number;
  /** White space comes before it. */
  readonly spaced: boolean;
}

const KEYWORDS = new Set([
  "block",
  "break",
  "continue",
  "define",
  "else",
  "end",
  "if",
  "range",
  "nil",
  "template",
  "with",
]);

const SHAPE = {
  space: /[ \t\r\n]+/y,
  alphanumeric: /[\p{L}\p{Nd}_]*/uy,
  number:
    /[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)/y,
  string: /"(?:[^"\\\n]|\\[^\n])*"/y,
  raw: /`[^`]*`/y,
  char: /'(?:[^'\\\n]|\\[^\n])+'/y,
} as const;

const SIGNS: Readonly<Record<string, TokenKind>> = {
  "=": "assign",
  "|": "pipe",
  ",": "comma",
  "(": "open",
  ")": "close",
};

/**
 * Cuts a template up into tokens, the last of which is the end or an error. Trim markers and comments are done with
 * here.
 */
export function tokensOf(template: string, start = 0): readonly Token[] {
  return new Lexer(template, start).run();
}

class Lexer {
  readonly #text: string;
  readonly #tokens: Token[] = [];
  #at: number;
  #line = 1;
  #counted = 0;
  #trims = false;

  constructor(text: string, start: number) {
    this.#text = text;
    this.#at = start;
  }

  run(): readonly Token[] {
    while (this.#plain() && this.#action()) {}
    return this.#tokens;
  }

  #emit(kind: TokenKind, text: string, at: number, spaced = false): void {
    this.#tokens.push({ kind, text, at, line: this.#lineAt(at), spaced });
  }

  /** Tokens come in order, so that each line is counted once. */
  #lineAt(at: number): number {
    for (let next = this.#text.indexOf("\n", this.#counted); next !== -1 && next < at; ) {
      this.#line++;
      this.#counted = next + 1;
      next = this.#text.indexOf("\n", this.#counted);
    }
    return this.#line;
  }

  #fail(why: string): false {
    this.#emit("error", why, this.#at);
    return false;
  }

  /** Text up to the next action; false at the end of all. */
  #plain(): boolean {
    const start = this.#at;
    const open = this.#text.indexOf("{{", start);
    let text = this.#text.slice(start, open === -1 ? undefined : open);
    const trimsLeft = open !== -1 && /^\{\{-[ \t\r\n]/.test(this.#text.slice(open, open + 4));
    if (this.#trims) text = text.replace(/^[ \t\r\n]+/, "");
    if (trimsLeft) text = withoutTail(text);
    if (text !== "") this.#emit("text", text, start);
    if (open === -1) {
      this.#emit("end", "", this.#text.length);
      return false;
    }
    this.#at = open + (trimsLeft ? 3 : 2);
    const inner = trimsLeft ? this.#at + 1 : this.#at;
    if (this.#text.startsWith("/*", inner)) return this.#comment(inner);
    this.#emit("left", "{{", open);
    return true;
  }

  #comment(start: number): boolean {
    const end = this.#text.indexOf("*/", start + 2);
    if (end === -1) return this.#fail("unclosed comment");
    const close = /^(?:\}\}|[ \t\r\n]-\}\})/.exec(this.#text.slice(end + 2, end + 6));
    if (close === null) return this.#fail("comment ends before closing delimiter");
    this.#trims = close[0].length > 2;
    this.#at = end + 2 + close[0].length;
    return this.#plain();
  }

  #match(shape: RegExp): string {
    shape.lastIndex = this.#at;
    return shape.exec(this.#text)?.[0] ?? "";
  }

  /** The tokens of one action with its closing delimiter; false after an error. */
  #action(): boolean {
    let depth = 0;
    for (;;) {
      const space = this.#match(SHAPE.space);
      const marker = space !== "" && this.#text.startsWith("-}}", this.#at + space.length);
      this.#at += space.length;
      if (marker || this.#text.startsWith("}}", this.#at)) {
        if (depth > 0) return this.#fail("unclosed left paren");
        this.#emit("right", "}}", this.#at, space !== "");
        this.#trims = marker;
        this.#at += marker ? 3 : 2;
        return true;
      }
      if (this.#at >= this.#text.length) return this.#fail("unclosed action");
      const token = this.#next();
      if (typeof token === "string") return this.#fail(token);
      const [kind, text] = token;
      if (kind === "open") depth++;
      if (kind === "close" && --depth < 0) return this.#fail("unexpected right paren");
      this.#emit(kind, text, this.#at, space !== "");
      this.#at += text.length;
    }
  }

  /** The next token, or what is wrong. */
  #next(): readonly [TokenKind, string] | string {
    const first = this.#text[this.#at] ?? "";
    if (first === ":") return this.#text[this.#at + 1] === "=" ? ["declare", ":="] : "expected :=";
    const sign = SIGNS[first];
    if (sign !== undefined) return [sign, first];
    if (first === '"') return this.#quoted(SHAPE.string, "string", "unterminated quoted string");
    if (first === "`") return this.#quoted(SHAPE.raw, "string", "unterminated raw quoted string");
    if (first === "'") return this.#quoted(SHAPE.char, "char", "unterminated character constant");
    if (first === "$") return this.#named("variable", first);
    if (/[0-9+-]/.test(first) || (first === "." && /[0-9]/.test(this.#text[this.#at + 1] ?? ""))) return this.#number();
    if (first === ".") return this.#named("field", first);
    if (/[\p{L}_]/u.test(this.#letter(this.#at))) return this.#named("identifier", "");
    // Printable, though no template has a use for it: the parser says where it should not be.
    if (first >= " " && first <= "~") return ["sign", first];
    return `unrecognized character in action: ${described(this.#letter(this.#at))}`;
  }

  #letter(at: number): string {
    return String.fromCodePoint(this.#text.codePointAt(at) ?? 0);
  }

  #quoted(shape: RegExp, kind: TokenKind, fault: string): readonly [TokenKind, string] | string {
    const text = this.#match(shape);
    return text === "" ? fault : [kind, text];
  }

  #number(): readonly [TokenKind, string] | string {
    const text = this.#match(SHAPE.number);
    SHAPE.alphanumeric.lastIndex = this.#at + text.length;
    const tail = SHAPE.alphanumeric.exec(this.#text)?.[0] ?? "";
    if (text === "" || tail !== "") {
      const shown = text + (tail === "" ? (this.#text[this.#at + text.length] ?? "") : (tail[0] ?? ""));
      return `bad number syntax: ${JSON.stringify(shown)}`;
    }
    return ["number", text];
  }

  #named(kind: "field" | "variable" | "identifier", prefix: string): readonly [TokenKind, string] | string {
    SHAPE.alphanumeric.lastIndex = this.#at + prefix.length;
    const word = SHAPE.alphanumeric.exec(this.#text)?.[0] ?? "";
    const after = this.#letter(this.#at + prefix.length + word.length);
    const ends = this.#at + prefix.length + word.length >= this.#text.length || /[ \t\r\n.,|:()]/.test(after);
    if (!ends && !this.#text.startsWith("}}", this.#at + prefix.length + word.length)) {
      return `bad character ${described(after)}`;
    }
    if (kind === "field") return word === "" ? ["dot", "."] : ["field", `.${word}`];
    if (kind === "variable") return ["variable", `$${word}`];
    if (word === "true" || word === "false") return ["bool", word];
    return [KEYWORDS.has(word) ? "keyword" : "identifier", word];
  }
}

/** Without a pattern: one that is anchored at the end takes quadratic time over many spaces. */
function withoutTail(text: string): string {
  let end = text.length;
  while (end > 0 && " \t\r\n".includes(text[end - 1] ?? "")) end--;
  return text.slice(0, end);
}

function described(letter: string): string {
  const code = (letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return `U+${code} '${letter}'`;
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", a: "\x07", b: "\b", f: "\f", v: "\v" };
const ESCAPE = /\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|[abfnrtv\\'"])/gs;

/** The value of a literal in Go's quotes; undefined if it holds an escape that Go has not. */
export function unquoted(literal: string): string | undefined {
  const body = literal.slice(1, -1);
  if (literal.startsWith("`")) return body.replaceAll("\r", "");
  const other = literal.startsWith('"') ? "'" : '"';
  if (body.replace(ESCAPE, "").includes("\\") || body.replaceAll("\\\\", "").includes(`\\${other}`)) return undefined;
  let faulty = false;
  const value = body.replace(ESCAPE, (_, code: string) => {
    if (/^[xuU]./.test(code)) {
      const point = Number.parseInt(code.slice(1), 16);
      if (point > 0x10ffff) faulty = true;
      return point > 0x10ffff ? "" : String.fromCodePoint(point);
    }
    if (/^[0-7]{3}$/.test(code)) return String.fromCharCode(Number.parseInt(code, 8));
    return ESCAPES[code] ?? code;
  });
  return faulty ? undefined : value;
}

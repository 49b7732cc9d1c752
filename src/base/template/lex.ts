/** The template is malformed or cannot be evaluated; `message` has Go's form. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
}

export type Token =
  | { readonly kind: "field" | "variable" | "word" | "operator"; readonly text: string; readonly spaced: boolean }
  | { readonly kind: "literal"; readonly value: string | number; readonly text: string; readonly spaced: boolean };

/** A template in pieces: text, and the tokens of each action between `{{` and `}}`. */
export type Piece =
  | { readonly kind: "text"; readonly text: string; readonly line: number }
  | { readonly kind: "action"; readonly tokens: readonly Token[]; readonly line: number };

/** Cuts a template up; trim markers and comments are done with here. */
export function cut(template: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let trimNext = false;
  const lineOf = (index: number): number => template.slice(0, index).split("\n").length;
  while (at < template.length) {
    const open = template.indexOf("{{", at);
    let text = template.slice(at, open === -1 ? undefined : open);
    const trimLeft = open !== -1 && /^\{\{-[ \t\r\n]/.test(template.slice(open, open + 4));
    if (trimNext) text = text.replace(/^[ \t\r\n]+/, "");
    if (trimLeft) text = text.replace(/[ \t\r\n]+$/, "");
    if (text !== "") pieces.push({ kind: "text", text, line: lineOf(at) });
    if (open === -1) break;
    const action = readAction(template, open + (trimLeft ? 3 : 2), lineOf(open));
    if (action.tokens !== undefined) pieces.push({ kind: "action", tokens: action.tokens, line: lineOf(open) });
    trimNext = action.trim;
    at = action.end;
  }
  return pieces;
}

const SHAPE = {
  space: /[ \t\r\n]+/y,
  field: /\.[\p{L}_][\p{L}\p{N}_]*/uy,
  variable: /\$[\p{L}\p{N}_]*/uy,
  number: /[+-]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)(?![\p{L}\p{N}_])/uy,
  quoted: /"(?:[^"\\\n]|\\.)*"/y,
  raw: /`[^`]*`/y,
  char: /'(?:[^'\\\n]|\\.)'/uy,
  word: /[\p{L}_][\p{L}\p{N}_]*/uy,
  operator: /:=|[=,|().]/y,
} as const;

function readAction(
  template: string,
  start: number,
  line: number,
): { readonly tokens: readonly Token[] | undefined; readonly end: number; readonly trim: boolean } {
  const comment = /[ \t\r\n]*\/\*.*?\*\/[ \t\r\n]*?(-?)\}\}/sy;
  comment.lastIndex = start;
  const skipped = comment.exec(template);
  if (skipped !== null) return { tokens: undefined, end: comment.lastIndex, trim: skipped[1] === "-" };
  const tokens: Token[] = [];
  let at = start;
  let spaced = true;
  const match = (shape: RegExp): string | undefined => {
    shape.lastIndex = at;
    return shape.exec(template)?.[0];
  };
  for (;;) {
    if (at >= template.length) throw new TemplateError(`template: :${line}: unclosed action`);
    if (template.startsWith("}}", at)) return { tokens, end: at + 2, trim: false };
    if (spaced && template.startsWith("-}}", at)) return { tokens, end: at + 3, trim: true };
    const space = match(SHAPE.space);
    if (space !== undefined) {
      at += space.length;
      spaced = true;
      continue;
    }
    const token = readToken(match, spaced);
    if (token === undefined) {
      const rest = template[at] ?? "";
      const why = rest === '"' ? "unterminated quoted string" : `unexpected ${JSON.stringify(rest)} in operand`;
      throw new TemplateError(`template: :${line}: ${why}`);
    }
    tokens.push(token);
    at += token.text.length;
    spaced = false;
  }
}

function readToken(match: (shape: RegExp) => string | undefined, spaced: boolean): Token | undefined {
  const number = match(SHAPE.number);
  if (number !== undefined) return { kind: "literal", value: Number(number.replace(/^\+/, "")), text: number, spaced };
  for (const kind of ["field", "variable", "word", "operator"] as const) {
    const text = match(SHAPE[kind]);
    if (text !== undefined) return { kind, text, spaced };
  }
  const quoted = match(SHAPE.quoted);
  if (quoted !== undefined) return { kind: "literal", value: unquote(quoted), text: quoted, spaced };
  const raw = match(SHAPE.raw);
  if (raw !== undefined) return { kind: "literal", value: raw.slice(1, -1), text: raw, spaced };
  const char = match(SHAPE.char);
  if (char !== undefined) return { kind: "literal", value: unquote(char).codePointAt(0) ?? 0, text: char, spaced };
  return undefined;
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", a: "\x07", b: "\b", f: "\f", v: "\v" };

function unquote(text: string): string {
  return text
    .slice(1, -1)
    .replace(/\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)/gs, (_, code: string) => {
      if (/^[xuU]./.test(code)) return String.fromCodePoint(Number.parseInt(code.slice(1), 16));
      if (/^[0-7]{3}$/.test(code)) return String.fromCharCode(Number.parseInt(code, 8));
      return ESCAPES[code] ?? code;
    });
}

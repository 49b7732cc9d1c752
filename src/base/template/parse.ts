import { cut, type Piece, TemplateError, type Token } from "./lex.ts";

export type Operand =
  | { readonly kind: "dot" }
  | { readonly kind: "nil" }
  | { readonly kind: "literal"; readonly value: string | number | boolean }
  | { readonly kind: "variable"; readonly name: string }
  | { readonly kind: "function"; readonly name: string }
  | { readonly kind: "pipe"; readonly pipe: Pipe };

/** An operand and the fields taken from it: `$x.A.B`. */
export interface Chain {
  readonly base: Operand;
  readonly fields: readonly string[];
}

export interface Pipe {
  readonly variables: readonly string[];
  /** True for `=`, false for `:=`. */
  readonly assigns: boolean;
  /** Each stage's first element is what is called with the rest. */
  readonly stages: readonly (readonly Chain[])[];
}

export type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "print"; readonly pipe: Pipe }
  | BlockNode
  | { readonly kind: "break" | "continue" };

export interface BlockNode {
  readonly kind: "if" | "with" | "range";
  readonly pipe: Pipe;
  readonly body: readonly Node[];
  readonly other: readonly Node[];
}

interface Cursor {
  readonly pieces: readonly Piece[];
  at: number;
}

const MAX_DEPTH = 200;

/** Parses Go's text/template as far as formats use it; `functions` are the names that may be called. */
export function parseTemplate(template: string, functions: ReadonlySet<string>): readonly Node[] {
  const cursor: Cursor = { pieces: cut(template), at: 0 };
  const { nodes, end } = parseList(cursor, functions, 0);
  if (end !== "") throw new TemplateError(`template: :1: unexpected {{${end}}}`);
  return nodes;
}

/** Nodes up to `{{end}}`, `{{else}}` or the end of the template, which is `""`. */
function parseList(
  cursor: Cursor,
  functions: ReadonlySet<string>,
  depth: number,
): { readonly nodes: readonly Node[]; readonly end: string; readonly rest: readonly Token[] } {
  if (depth > MAX_DEPTH) throw new TemplateError("template: :1: nested too deep");
  const nodes: Node[] = [];
  while (cursor.at < cursor.pieces.length) {
    const piece = cursor.pieces[cursor.at++];
    if (piece === undefined) break;
    if (piece.kind === "text") {
      nodes.push({ kind: "text", text: piece.text });
      continue;
    }
    const first = piece.tokens[0];
    const word = first?.kind === "word" ? first.text : "";
    const rest = piece.tokens.slice(1);
    if (word === "end" || word === "else") return { nodes, end: word, rest };
    if (word === "if" || word === "with" || word === "range")
      nodes.push(parseBlock(word, rest, cursor, functions, depth));
    else if (word === "break" || word === "continue") nodes.push({ kind: word });
    else nodes.push({ kind: "print", pipe: new PipeParser(piece.tokens, functions, piece.line).whole("command") });
  }
  return { nodes, end: "", rest: [] };
}

function parseBlock(
  kind: "if" | "with" | "range",
  tokens: readonly Token[],
  cursor: Cursor,
  functions: ReadonlySet<string>,
  depth: number,
): Node {
  const line = cursor.pieces[cursor.at - 1]?.line ?? 1;
  const pipe = new PipeParser(tokens, functions, line).whole(kind);
  const body = parseList(cursor, functions, depth + 1);
  if (body.end === "end") return { kind, pipe, body: body.nodes, other: [] };
  if (body.end === "") throw new TemplateError(`template: :${line}: unexpected EOF`);
  const next = body.rest[0];
  if (next?.kind === "word" && (next.text === "if" || next.text === "with")) {
    return {
      kind,
      pipe,
      body: body.nodes,
      other: [parseBlock(next.text, body.rest.slice(1), cursor, functions, depth + 1)],
    };
  }
  const other = parseList(cursor, functions, depth + 1);
  if (other.end !== "end") throw new TemplateError(`template: :${line}: unexpected EOF`);
  return { kind, pipe, body: body.nodes, other: other.nodes };
}

class PipeParser {
  readonly #tokens: readonly Token[];
  readonly #functions: ReadonlySet<string>;
  readonly #line: number;
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[], functions: ReadonlySet<string>, line: number) {
    this.#tokens = tokens;
    this.#functions = functions;
    this.#line = line;
  }

  whole(context: string): Pipe {
    const pipe = this.#pipe(context);
    const left = this.#tokens[this.#at];
    if (left !== undefined) throw this.#error(`unexpected ${JSON.stringify(left.text)} in ${context}`);
    return pipe;
  }

  #pipe(context: string): Pipe {
    if (++this.#depth > MAX_DEPTH) throw this.#error("nested too deep");
    const variables: string[] = [];
    let assigns = false;
    const start = this.#at;
    while (this.#tokens[this.#at]?.kind === "variable") {
      variables.push(this.#tokens[this.#at]?.text ?? "");
      const after = this.#tokens[this.#at + 1]?.text;
      this.#at += 2;
      if (after === ",") continue;
      if (after === ":=" || after === "=") {
        assigns = after === "=";
      } else {
        variables.length = 0;
        this.#at = start;
      }
      break;
    }
    const stages: Chain[][] = [[]];
    for (;;) {
      const token = this.#tokens[this.#at];
      if (token === undefined || token.text === ")") break;
      if (token.kind === "operator" && token.text === "|") {
        if (stages.at(-1)?.length === 0) throw this.#error(`missing value for ${context}`);
        stages.push([]);
        this.#at++;
      } else {
        stages.at(-1)?.push(this.#chain());
      }
    }
    if (stages.at(-1)?.length === 0) throw this.#error(`missing value for ${context}`);
    this.#depth--;
    return { variables, assigns, stages };
  }

  #chain(): Chain {
    const token = this.#tokens[this.#at++];
    const fields: string[] = [];
    let base: Operand;
    if (token?.kind === "field") {
      base = { kind: "dot" };
      fields.push(token.text.slice(1));
    } else {
      base = this.#operand(token);
    }
    for (;;) {
      const next = this.#tokens[this.#at];
      if (next?.kind !== "field" || next.spaced) return { base, fields };
      fields.push(next.text.slice(1));
      this.#at++;
    }
  }

  #operand(token: Token | undefined): Operand {
    if (token?.kind === "literal") return { kind: "literal", value: token.value };
    if (token?.kind === "variable") return { kind: "variable", name: token.text };
    if (token?.kind === "operator" && token.text === ".") return { kind: "dot" };
    if (token?.kind === "operator" && token.text === "(") {
      const pipe = this.#pipe("parenthesized pipeline");
      if (this.#tokens[this.#at++]?.text !== ")") throw this.#error("unclosed left paren");
      return { kind: "pipe", pipe };
    }
    if (token?.kind === "word") {
      if (token.text === "true" || token.text === "false") return { kind: "literal", value: token.text === "true" };
      if (token.text === "nil") return { kind: "nil" };
      if (this.#functions.has(token.text)) return { kind: "function", name: token.text };
      throw this.#error(`function ${JSON.stringify(token.text)} not defined`);
    }
    throw this.#error(`unexpected ${JSON.stringify(token?.text ?? "EOF")} in operand`);
  }

  #error(why: string): TemplateError {
    return new TemplateError(`template: :${this.#line}: ${why}`);
  }
}

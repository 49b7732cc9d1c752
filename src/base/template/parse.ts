import { TemplateError, type Token, tokensOf, unquoted } from "./lex.ts";
import type { BlockNode, Command, Node, Operand, Pipe } from "./nodes.ts";

const MAX_DEPTH = 200;

/** A template and those that it defines, by their names; `name` is its own. */
export type Templates = ReadonlyMap<string, readonly Node[]>;

/** Parses Go's text/template, from `start` on; `functions` are the names that may be called. */
export function parseTemplate(name: string, text: string, start: number, functions: ReadonlySet<string>): Templates {
  return new Parser(name, tokensOf(text, start), functions).all();
}

class Parser {
  readonly #name: string;
  readonly #functions: ReadonlySet<string>;
  readonly #tokens: readonly Token[];
  readonly #templates = new Map<string, readonly Node[]>();
  #at = 0;
  #depth = 0;
  #ranges = 0;
  /** The line of the action that is being read; 0 outside. */
  #actionLine = 0;
  #variables: string[] = ["$"];

  constructor(name: string, tokens: readonly Token[], functions: ReadonlySet<string>) {
    this.#name = name;
    this.#functions = functions;
    this.#tokens = tokens;
  }

  all(): Templates {
    const nodes: Node[] = [];
    while (this.#peek().kind !== "end") {
      if (this.#peek().kind === "left" && this.#keyword(1) === "define") this.#definition();
      else {
        const item = this.#item();
        if (typeof item === "string") throw this.#error(`unexpected {{${item}}}`);
        nodes.push(item);
      }
    }
    this.#add(this.#name, nodes);
    return this.#templates;
  }

  /** An empty template doesn't replace one that says something. */
  #add(name: string, nodes: readonly Node[]): void {
    const isEmpty = nodes.every((node) => node.kind === "text" && node.text.trim() === "");
    if (this.#templates.has(name) && isEmpty) return;
    this.#templates.set(name, nodes);
  }

  #peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#at + ahead, this.#tokens.length - 1)] as Token;
  }

  #next(): Token {
    const token = this.#peek();
    if (this.#at < this.#tokens.length - 1) this.#at++;
    return token;
  }

  #keyword(ahead: number): string {
    const token = this.#peek(ahead);
    return token.kind === "keyword" ? token.text : "";
  }

  #error(why: string, line = this.#peek(-1 * Number(this.#at > 0)).line): TemplateError {
    return new TemplateError(`template: ${this.#name}:${line}: ${why}`);
  }

  #unexpected(token: Token, context: string): TemplateError {
    if (token.kind === "error") {
      let where = "";
      if (this.#actionLine !== 0 && this.#actionLine !== token.line) {
        where = ` in action started at ${this.#name}:${this.#actionLine}`;
        if (token.text.endsWith(" action")) where = where.slice(" in action".length);
      }
      return this.#error(`${token.text}${where}`, token.line);
    }
    return this.#error(`unexpected ${shown(token)} in ${context}`, token.line);
  }

  #expect(kind: Token["kind"], context: string): Token {
    const token = this.#next();
    if (token.kind !== kind) throw this.#unexpected(token, context);
    return token;
  }

  /** Text or an action; of `{{end}}` and `{{else …}}` the word, which is taken. */
  #item(): Node | "end" | "else" {
    const token = this.#next();
    if (token.kind === "text") return { kind: "text", text: token.text, at: token.at };
    if (token.kind !== "left") throw this.#unexpected(token, "input");
    this.#actionLine = token.line;
    try {
      return this.#action();
    } finally {
      this.#actionLine = 0;
    }
  }

  #action(): Node | "end" | "else" {
    const { at } = this.#peek();
    const word = this.#keyword(0);
    switch (word) {
      case "if":
      case "with":
      case "range":
        this.#next();
        return this.#block(word, at);
      case "block":
        this.#next();
        return this.#blockDefinition();
      case "template":
        this.#next();
        return this.#invocation();
      case "break":
      case "continue":
        this.#next();
        this.#expect("right", `{{${word}}}`);
        if (this.#ranges === 0) throw this.#error(`{{${word}}} outside {{range}}`);
        return { kind: word, at };
      case "end":
        this.#next();
        this.#expect("right", "end");
        return "end";
      case "else":
        this.#next();
        // Its `if` or `with` is for the block it belongs to.
        if (this.#keyword(0) !== "if" && this.#keyword(0) !== "with") this.#expect("right", "else");
        return "else";
      default:
        return { kind: "print", pipe: this.#pipe("command", "right"), at };
    }
  }

  /** Nodes up to the `end` or `else` that is theirs. */
  #list(): { readonly nodes: readonly Node[]; readonly end: "end" | "else" } {
    const nodes: Node[] = [];
    for (;;) {
      const token = this.#peek();
      if (token.kind === "end") throw this.#error("unexpected EOF", token.line);
      const item = this.#item();
      if (typeof item === "string") return { nodes, end: item };
      nodes.push(item);
    }
  }

  #block(kind: BlockNode["kind"], at: number): BlockNode {
    if (++this.#depth > MAX_DEPTH) throw this.#error("nested too deep");
    const scope = this.#variables.length;
    const pipe = this.#pipe(kind, "right");
    if (kind === "range") this.#ranges++;
    const body = this.#list();
    if (kind === "range") this.#ranges--;
    let other: readonly Node[] = [];
    if (body.end === "else") {
      const word = this.#keyword(0);
      if ((word === "if" || word === "with") && word === kind) {
        const start = this.#next();
        other = [this.#block(word, start.at)];
      } else if (word !== "") {
        throw this.#unexpected(this.#peek(), "else");
      } else {
        const rest = this.#list();
        if (rest.end === "else") throw this.#error("expected end; found {{else}}");
        other = rest.nodes;
      }
    }
    this.#variables.length = scope;
    this.#depth--;
    return { kind, pipe, body: body.nodes, other, at };
  }

  #templateName(context: string): string {
    const token = this.#next();
    if (token.kind !== "string") throw this.#unexpected(token, context);
    return this.#string(token);
  }

  #definition(): void {
    this.#next();
    this.#next();
    const name = this.#templateName("define clause");
    this.#expect("right", "define clause");
    this.#own(name, "define");
  }

  /** The body of a template of its own, whose variables are its own too. */
  #own(name: string, context: string): void {
    const outer = this.#variables;
    const ranges = this.#ranges;
    this.#variables = ["$"];
    this.#ranges = 0;
    const { nodes, end } = this.#list();
    if (end !== "end") throw this.#error(`unexpected {{else}} in ${context} clause`);
    this.#variables = outer;
    this.#ranges = ranges;
    this.#add(name, nodes);
  }

  #blockDefinition(): Node {
    const { at } = this.#peek();
    if (++this.#depth > MAX_DEPTH) throw this.#error("nested too deep");
    const name = this.#templateName("block clause");
    const pipe = this.#pipe("block clause", "right");
    this.#own(name, "block");
    this.#depth--;
    return { kind: "template", name, pipe, at };
  }

  #invocation(): Node {
    const { at } = this.#peek();
    const name = this.#templateName("template clause");
    if (this.#peek().kind === "right") {
      this.#next();
      return { kind: "template", name, pipe: undefined, at };
    }
    return { kind: "template", name, pipe: this.#pipe("template clause", "right"), at };
  }

  #pipe(context: string, end: "right" | "close"): Pipe {
    if (++this.#depth > MAX_DEPTH) throw this.#error("nested too deep");
    const { at } = this.#peek();
    const { variables, assigns } = this.#declarations(context);
    const commands: Command[] = [];
    for (;;) {
      const token = this.#peek();
      if (token.kind === end) {
        this.#next();
        break;
      }
      if (!STARTS.has(token.kind) && !(token.kind === "keyword" && token.text === "nil")) {
        this.#next();
        throw this.#unexpected(token, context);
      }
      commands.push(this.#command(end));
    }
    this.#checkPipe(commands, context);
    // A variable is known only after what it is given.
    if (!assigns) this.#variables.push(...variables);
    this.#depth--;
    return { at, variables, assigns, commands };
  }

  #declarations(context: string): { readonly variables: readonly string[]; readonly assigns: boolean } {
    const variables: string[] = [];
    const start = this.#at;
    while (this.#peek().kind === "variable") {
      const variable = this.#next();
      const after = this.#next();
      variables.push(variable.text);
      if (after.kind === "declare" || after.kind === "assign") {
        if (after.kind === "assign") for (const name of variables) this.#known(name);
        if (variables.length > (context === "range" ? 2 : 1)) throw this.#error(`too many declarations in ${context}`);
        return { variables, assigns: after.kind === "assign" };
      }
      if (after.kind === "comma" && context === "range" && variables.length < 2) {
        if (this.#peek().kind !== "variable") throw this.#unexpected(this.#peek(), context);
        continue;
      }
      if (after.kind === "comma") throw this.#error(`too many declarations in ${context}`);
      break;
    }
    this.#at = start;
    return { variables: [], assigns: false };
  }

  #checkPipe(commands: readonly Command[], context: string): void {
    if (commands.length === 0) throw this.#error(`missing value for ${context}`);
    commands.slice(1).forEach((command, index) => {
      const { kind } = command.operands[0];
      if (kind === "literal" || kind === "nil" || kind === "dot") {
        throw this.#error(`non executable command in pipeline stage ${index + 2}`);
      }
    });
  }

  #known(name: string): void {
    if (!this.#variables.includes(name)) throw this.#error(`undefined variable ${JSON.stringify(name)}`);
  }

  #command(end: "right" | "close"): Command {
    const { at } = this.#peek();
    const operands: Operand[] = [];
    for (;;) {
      const operand = this.#operand();
      if (operand !== undefined) operands.push(operand);
      const token = this.#peek();
      if (token.kind === end) break;
      if (token.kind === "pipe") {
        this.#next();
        break;
      }
      if (operand === undefined || !token.spaced) {
        this.#next();
        throw this.#unexpected(token, "operand");
      }
    }
    const [first, ...rest] = operands;
    if (first === undefined) throw this.#error("empty command");
    return { at, operands: [first, ...rest] };
  }

  /** A term and the fields taken from it. */
  #operand(): Operand | undefined {
    const term = this.#term();
    if (term === undefined) return undefined;
    const names: string[] = [];
    const { at } = this.#peek();
    while (this.#peek().kind === "field" && !this.#peek().spaced) names.push(this.#next().text.slice(1));
    if (names.length === 0) return term;
    switch (term.kind) {
      case "field":
        return { kind: "field", names: [...term.names, ...names], at };
      case "variable":
        return { kind: "variable", name: term.name, names, at };
      case "literal":
      case "nil":
      case "dot":
        throw this.#error(
          `unexpected . after term ${JSON.stringify(term.kind === "literal" ? term.text : term.kind === "nil" ? "nil" : ".")}`,
        );
      default:
        return { kind: "chain", base: term, names, at };
    }
  }

  #term(): Operand | undefined {
    const token = this.#peek();
    const { at, text } = token;
    switch (token.kind) {
      case "identifier":
        this.#next();
        if (!this.#functions.has(text)) throw this.#error(`function ${JSON.stringify(text)} not defined`);
        return { kind: "function", name: text, at };
      case "dot":
        this.#next();
        return { kind: "dot", at };
      case "keyword":
        if (text !== "nil") return undefined;
        this.#next();
        return { kind: "nil", at };
      case "variable":
        this.#next();
        this.#known(text);
        return { kind: "variable", name: text, names: [], at };
      case "field":
        this.#next();
        return { kind: "field", names: [text.slice(1)], at };
      case "bool":
        this.#next();
        return { kind: "literal", value: text === "true", text, at };
      case "number":
        this.#next();
        return { kind: "literal", value: this.#number(text), text, at };
      case "char":
        this.#next();
        return { kind: "literal", value: this.#char(text), text, at };
      case "string":
        this.#next();
        return { kind: "literal", value: this.#string(token), text, at };
      case "open":
        this.#next();
        return { kind: "pipe", pipe: this.#pipe("parenthesized pipeline", "close"), at };
      default:
        return undefined;
    }
  }

  #string(token: Token): string {
    const value = unquoted(token.text);
    if (value === undefined) throw this.#error("invalid syntax");
    return value;
  }

  #char(text: string): number {
    const value = unquoted(text);
    if (value === undefined || [...value].length !== 1) throw this.#error(`malformed character constant: ${text}`);
    return value.codePointAt(0) ?? 0;
  }

  #number(text: string): number | bigint {
    const digits = text.replaceAll("_", "").replace(/^[+-]/, "");
    const sign = text.startsWith("-") ? -1 : 1;
    const isInteger = /^(0[xXbBoO][0-9a-fA-F]+|[0-9]+)$/.test(digits);
    if (!isInteger) {
      const value = sign * Number(digits);
      if (!Number.isFinite(value)) throw this.#error(`illegal number syntax: ${JSON.stringify(text)}`);
      return value;
    }
    const exact = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits) * BigInt(sign);
    if (exact >= 1n << 64n || exact < -(1n << 63n)) throw this.#error(`integer overflow: ${JSON.stringify(text)}`);
    const value = Number(exact);
    return Number.isSafeInteger(value) ? value : exact;
  }
}

const STARTS: ReadonlySet<Token["kind"]> = new Set([
  "bool",
  "char",
  "dot",
  "field",
  "identifier",
  "number",
  "string",
  "variable",
  "open",
]);

function shown(token: Token): string {
  if (token.kind === "end") return "EOF";
  if (token.kind === "keyword" || token.kind === "dot") return `<${token.text}>`;
  const text = token.text;
  return text.length > 10 ? `${JSON.stringify(text.slice(0, 10))}...` : JSON.stringify(text);
}

import { ArgumentError, CountError, FUNCTIONS, type TemplateFunction } from "./functions.ts";
import { TemplateError } from "./lex.ts";
import { type BlockNode, type Command, type Node, type Operand, type Pipe, shownText } from "./nodes.ts";
import { parseTemplate, type Templates } from "./parse.ts";
import { goText, isTrue, printed, typeName } from "./values.ts";

export interface TemplateOptions {
  /** Its name in errors; "" unless given. */
  readonly name?: string;
  /** Where in the text it begins; what is before counts only for the places that errors name. Default 0. */
  readonly start?: number;
  /** What errors call the type of the data. */
  readonly type?: string;
  /** Replaces functions of the same name, as the header of a table needs it. */
  readonly functions?: Readonly<Record<string, TemplateFunction>>;
  /** What a field that the value hasn't got means: a value, or an error whose message is put into Go's form. */
  readonly missing?: (receiver: Readonly<Record<string, unknown>>, field: string, isData: boolean) => unknown;
  /** Steps and letters of output that one use may take, for templates of people who are not trusted; default 2^24. */
  readonly limit?: number;
}

export type Template = (data: unknown) => string;

const MAX_CALLS = 500;
const DEFAULT_LIMIT = 2 ** 24;

/** Compiles a template; a fault in its text is thrown here, one in its use when it is called. */
export function compileTemplate(text: string, options: TemplateOptions = {}): Template {
  const functions = { ...FUNCTIONS, ...options.functions };
  const name = options.name ?? "";
  const templates = parseTemplate(name, text, options.start ?? 0, new Set([...Object.keys(functions), "and", "or"]));
  const shared: Shared = {
    name,
    text,
    templates,
    functions,
    type: options.type,
    missing: options.missing,
    data: undefined,
    left: options.limit ?? DEFAULT_LIMIT,
  };
  return (data) => {
    const run = new Run({ ...shared, data }, name, data, 0);
    run.list(templates.get(name) ?? [], data);
    return run.output;
  };
}

interface Shared {
  readonly name: string;
  readonly text: string;
  readonly templates: Templates;
  readonly functions: Readonly<Record<string, TemplateFunction>>;
  readonly type: string | undefined;
  readonly missing: TemplateOptions["missing"];
  readonly data: unknown;
  left: number;
}

type Scope = Map<string, unknown>;

class LoopEnd {
  readonly kind: "break" | "continue";
  constructor(kind: "break" | "continue") {
    this.kind = kind;
  }
}

/** One template under way. */
class Run {
  output = "";
  readonly #shared: Shared;
  readonly #name: string;
  readonly #scopes: Scope[];
  readonly #calls: number;
  /** What is being evaluated, for errors. */
  #piece: Operand | Command | Node | undefined;

  constructor(shared: Shared, name: string, data: unknown, calls: number) {
    this.#shared = shared;
    this.#name = name;
    this.#calls = calls;
    this.#scopes = [new Map([["$", data]])];
  }

  list(nodes: readonly Node[], dot: unknown): void {
    for (const node of nodes) {
      this.#spend(1);
      switch (node.kind) {
        case "text":
          this.#print(node.text);
          break;
        case "print": {
          this.#piece = node;
          const value = this.#pipe(node.pipe, dot);
          if (node.pipe.variables.length === 0) this.#print(printed(value));
          break;
        }
        case "break":
        case "continue":
          throw new LoopEnd(node.kind);
        case "template":
          this.#template(node, dot);
          break;
        default:
          this.#block(node, dot);
      }
    }
  }

  #print(text: string): void {
    this.#spend(text.length);
    this.output += text;
  }

  #spend(steps: number): void {
    this.#shared.left -= steps;
    if (this.#shared.left < 0) throw this.#error("the template takes too long or prints too much");
  }

  #error(why: string): TemplateError {
    const piece = this.#piece;
    if (piece === undefined) return new TemplateError(`template: ${this.#shared.name}: ${why}`);
    const before = this.#shared.text.slice(0, piece.at);
    const newline = before.lastIndexOf("\n");
    const line = before.split("\n").length;
    const column = Buffer.byteLength(before.slice(newline + 1));
    return new TemplateError(
      `template: ${this.#shared.name}:${line}:${column}: executing ${JSON.stringify(this.#name)} at <${shownText(piece)}>: ${why}`,
    );
  }

  #template(node: Node & { kind: "template" }, dot: unknown): void {
    this.#piece = node;
    const nodes = this.#shared.templates.get(node.name);
    if (nodes === undefined) throw this.#error(`template ${JSON.stringify(node.name)} not defined`);
    if (this.#calls >= MAX_CALLS) throw this.#error(`exceeded maximum template depth (${MAX_CALLS})`);
    const data = node.pipe === undefined ? undefined : this.#pipe(node.pipe, dot);
    const inner = new Run(this.#shared, node.name, data, this.#calls + 1);
    inner.list(nodes, data);
    this.output += inner.output;
  }

  #block(node: BlockNode, dot: unknown): void {
    this.#piece = node;
    const depth = this.#scopes.length;
    this.#scopes.push(new Map());
    try {
      if (node.kind === "range") {
        this.#range(node, dot);
      } else {
        const value = this.#pipe(node.pipe, dot);
        if (isTrue(value)) this.list(node.body, node.kind === "with" ? value : dot);
        else this.list(node.other, dot);
      }
    } finally {
      this.#scopes.length = depth;
    }
  }

  #range(node: BlockNode, dot: unknown): void {
    const { variables, assigns } = node.pipe;
    const value = this.#pipe({ ...node.pipe, variables: [] }, dot);
    const [first, second] = variables;
    let empty = true;
    for (const [key, item] of this.#items(value)) {
      empty = false;
      this.#spend(1);
      const depth = this.#scopes.length;
      this.#scopes.push(new Map());
      if (first !== undefined) this.#set(first, second === undefined ? item : key, assigns);
      if (second !== undefined) this.#set(second, item, assigns);
      try {
        this.list(node.body, item);
      } catch (error) {
        if (!(error instanceof LoopEnd)) throw error;
        if (error.kind === "break") return;
      } finally {
        this.#scopes.length = depth;
      }
    }
    if (empty) this.list(node.other, dot);
  }

  *#items(value: unknown): Generator<readonly [unknown, unknown]> {
    if (Array.isArray(value)) yield* value.entries();
    else if (typeof value === "number" && Number.isInteger(value)) for (let at = 0; at < value; at++) yield [at, at];
    else if (typeof value === "object" && value !== null) {
      yield* Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    } else if (value !== null && value !== undefined) throw this.#error(`range can't iterate over ${goText(value)}`);
  }

  #set(name: string, value: unknown, assigns: boolean): void {
    const scope = assigns ? this.#scopes.findLast((entry) => entry.has(name)) : this.#scopes.at(-1);
    scope?.set(name, value);
  }

  #pipe(pipe: Pipe, dot: unknown): unknown {
    let value: unknown;
    pipe.commands.forEach((command, stage) => {
      value = this.#command(command, dot, stage === 0 ? [] : [value]);
    });
    const name = pipe.variables[0];
    if (name !== undefined) this.#set(name, value, pipe.assigns);
    return value;
  }

  #command(command: Command, dot: unknown, piped: readonly unknown[]): unknown {
    const [first, ...rest] = command.operands;
    this.#piece = first;
    if (first.kind === "function") return this.#call(command, first.name, rest, dot, piped);
    const takesArguments = first.kind === "field" || first.kind === "chain" || first.kind === "variable";
    if (takesArguments && (first.kind !== "variable" || first.names.length > 0)) {
      return this.#operand(first, dot, () => [...rest.map((operand) => this.#argument(operand, dot)), ...piped]);
    }
    if (rest.length + piped.length > 0) throw this.#error(`can't give argument to non-function ${shownText(first)}`);
    if (first.kind === "nil") throw this.#error("nil is not a command");
    return this.#operand(first, dot);
  }

  #argument(operand: Operand, dot: unknown): unknown {
    this.#piece = operand;
    if (operand.kind === "function")
      return this.#call({ at: operand.at, operands: [operand] }, operand.name, [], dot, []);
    return this.#operand(operand, dot);
  }

  #call(
    command: Command,
    name: string,
    operands: readonly Operand[],
    dot: unknown,
    piped: readonly unknown[],
  ): unknown {
    if (name === "and" || name === "or") {
      if (operands.length + piped.length === 0)
        throw this.#error(`wrong number of args for ${name}: want at least 1 got 0`);
      let value: unknown;
      for (const operand of operands) {
        value = this.#argument(operand, dot);
        if (isTrue(value) === (name === "or")) return value;
      }
      return piped.length > 0 ? piped[0] : value;
    }
    const values = [...operands.map((operand) => this.#argument(operand, dot)), ...piped];
    this.#piece = command;
    const [target] = values;
    if (name === "call" && target !== null && target !== undefined && typeof target !== "function") {
      const shown = operands[0] === undefined ? "." : shownText(operands[0]);
      throw this.#error(`error calling call: non-function ${shown} of type ${typeName(target)}`);
    }
    try {
      return this.#shared.functions[name]?.(...values);
    } catch (error) {
      if (error instanceof CountError) this.#piece = command.operands[0];
      if (error instanceof ArgumentError) {
        const operand = operands[error.index];
        if (operand !== undefined) this.#piece = operand;
        const isConstant = operand?.kind === "literal" || operand?.kind === "nil";
        if (isConstant) throw this.#error(`expected ${error.wanted}; found ${shownText(operand)}`);
      }
      if (!(error instanceof TemplateError)) throw error;
      throw this.#error(error.message);
    }
  }

  #operand(operand: Operand, dot: unknown, args?: () => readonly unknown[]): unknown {
    switch (operand.kind) {
      case "dot":
        return dot;
      case "nil":
        return null;
      case "literal":
        return operand.value;
      case "pipe":
        return this.#pipe(operand.pipe, dot);
      case "function":
        return this.#argument(operand, dot);
      case "field":
        return this.#fields(operand, dot, operand.names, args);
      case "chain": {
        const base = this.#operand(operand.base, dot);
        return this.#fields(operand, base, operand.names, args);
      }
      case "variable": {
        const scope = this.#scopes.findLast((entry) => entry.has(operand.name));
        return this.#fields(operand, scope?.get(operand.name), operand.names, args);
      }
    }
  }

  #fields(operand: Operand, base: unknown, names: readonly string[], args?: () => readonly unknown[]): unknown {
    let value = base;
    names.forEach((name, at) => {
      this.#piece = operand;
      value = this.#field(operand, value, name, at === names.length - 1 ? args : undefined);
    });
    return value;
  }

  #field(operand: Operand, receiver: unknown, field: string, args?: () => readonly unknown[]): unknown {
    // What a map hasn't got has no fields that could be wrong.
    if (receiver === undefined) return undefined;
    if (receiver === null) throw this.#error(`nil pointer evaluating interface {}.${field}`);
    const isData = receiver === this.#shared.data;
    if (typeof receiver !== "object" || Array.isArray(receiver)) {
      const type = isData ? (this.#shared.type ?? typeName(receiver)) : typeName(receiver);
      throw this.#error(`can't evaluate field ${field} in type ${type}`);
    }
    const record = receiver as Readonly<Record<string, unknown>>;
    const values = args?.() ?? [];
    this.#piece = operand;
    if (!Object.hasOwn(record, field)) {
      if (isData && this.#shared.type !== undefined && this.#shared.missing === undefined) {
        throw this.#error(`can't evaluate field ${field} in type ${this.#shared.type}`);
      }
      try {
        return this.#shared.missing?.(record, field, isData);
      } catch (error) {
        throw error instanceof Error ? this.#error(error.message) : error;
      }
    }
    const value = record[field];
    if (typeof value === "function") {
      const method = value as TemplateFunction;
      if (values.length !== method.length) {
        throw this.#error(`wrong number of args for ${field}: want ${method.length} got ${values.length}`);
      }
      return method(...values);
    }
    if (values.length > 0) throw this.#error(`${field} has arguments but cannot be invoked as function`);
    return value;
  }
}

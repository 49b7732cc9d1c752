import { FUNCTIONS, type TemplateFunction } from "./functions.ts";
import { TemplateError } from "./lex.ts";
import { type BlockNode, type Chain, type Node, type Operand, type Pipe, parseTemplate } from "./parse.ts";
import { goText, isTrue, printed } from "./values.ts";

export interface TemplateOptions {
  /** Replaces functions of the same name, as the header of a table needs it. */
  readonly functions?: Readonly<Record<string, TemplateFunction>>;
  /** What a field that the value hasn't got means: a value, or an error that it throws. */
  readonly missing?: (receiver: Readonly<Record<string, unknown>>, field: string) => unknown;
}

export type Template = (data: unknown) => string;

/** Compiles a template; a fault in its text is thrown here, one in its use when it is called. */
export function compileTemplate(text: string, options: TemplateOptions = {}): Template {
  const functions = { ...FUNCTIONS, ...options.functions };
  const nodes = parseTemplate(text, new Set([...Object.keys(functions), "and", "or"]));
  return (data) => {
    const run = new Run(data, functions, options.missing);
    run.list(nodes, data);
    return run.output;
  };
}

type Scope = Map<string, unknown>;

class LoopEnd {
  readonly kind: "break" | "continue";
  constructor(kind: "break" | "continue") {
    this.kind = kind;
  }
}

class Run {
  output = "";
  readonly #functions: Readonly<Record<string, TemplateFunction>>;
  readonly #missing: TemplateOptions["missing"];
  readonly #scopes: Scope[];

  constructor(
    data: unknown,
    functions: Readonly<Record<string, TemplateFunction>>,
    missing: TemplateOptions["missing"],
  ) {
    this.#functions = functions;
    this.#missing = missing;
    this.#scopes = [new Map([["$", data]])];
  }

  list(nodes: readonly Node[], dot: unknown): void {
    for (const node of nodes) {
      if (node.kind === "text") this.output += node.text;
      else if (node.kind === "print") {
        const value = this.#pipe(node.pipe, dot);
        if (node.pipe.variables.length === 0) this.output += printed(value);
      } else if ("body" in node) this.#block(node, dot);
      else throw new LoopEnd(node.kind);
    }
  }

  #block(node: BlockNode, dot: unknown): void {
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
    const value = this.#pipe({ ...node.pipe, variables: [] }, dot);
    let rows: [unknown, unknown][];
    if (Array.isArray(value)) rows = value.map((item, at) => [at, item]);
    else if (typeof value === "number")
      rows = Array.from({ length: Math.min(Math.max(0, value), 1e6) }, (_, at) => [at, at]);
    else if (typeof value === "object" && value !== null)
      rows = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    else if (value === null || value === undefined) rows = [];
    else throw new TemplateError(`range can't iterate over ${goText(value)}`);
    if (rows.length === 0) this.list(node.other, dot);
    const [first, second] = node.pipe.variables;
    for (const [key, item] of rows) {
      const depth = this.#scopes.length;
      const scope: Scope = new Map();
      if (first !== undefined) scope.set(first, second === undefined ? item : key);
      if (second !== undefined) scope.set(second, item);
      this.#scopes.push(scope);
      try {
        this.list(node.body, item);
      } catch (error) {
        if (!(error instanceof LoopEnd)) throw error;
        if (error.kind === "break") return;
      } finally {
        this.#scopes.length = depth;
      }
    }
  }

  #pipe(pipe: Pipe, dot: unknown): unknown {
    let value: unknown;
    let piped = false;
    for (const stage of pipe.stages) {
      value = this.#stage(stage, dot, piped ? [value] : []);
      piped = true;
    }
    const name = pipe.variables[0];
    if (name !== undefined) {
      const scope = pipe.assigns ? this.#scopes.findLast((entry) => entry.has(name)) : this.#scopes.at(-1);
      if (scope === undefined) throw new TemplateError(`undefined variable ${JSON.stringify(name)}`);
      scope.set(name, value);
    }
    return value;
  }

  #stage(stage: readonly Chain[], dot: unknown, piped: readonly unknown[]): unknown {
    const [first, ...rest] = stage;
    if (first === undefined) return undefined;
    if (first.base.kind === "function" && first.fields.length === 0) {
      const name = first.base.name;
      if (name === "and" || name === "or") return this.#shortCircuit(name, rest, dot, piped);
      return this.#functions[name]?.(...rest.map((chain) => this.#chain(chain, dot, [])), ...piped);
    }
    const args = [...rest.map((chain) => this.#chain(chain, dot, [])), ...piped];
    if (args.length > 0 && first.fields.length === 0) {
      throw new TemplateError(`can't give argument to non-function ${goText(this.#operand(first.base, dot))}`);
    }
    return this.#chain(first, dot, args);
  }

  #shortCircuit(name: "and" | "or", chains: readonly Chain[], dot: unknown, piped: readonly unknown[]): unknown {
    let value: unknown;
    for (const chain of chains) {
      value = this.#chain(chain, dot, []);
      if (isTrue(value) === (name === "or")) return value;
    }
    return piped.length > 0 ? piped[0] : value;
  }

  #chain(chain: Chain, dot: unknown, args: readonly unknown[]): unknown {
    let value = this.#operand(chain.base, dot);
    chain.fields.forEach((field, at) => {
      value = this.#field(value, field, at === chain.fields.length - 1 ? args : []);
    });
    return value;
  }

  #operand(operand: Operand, dot: unknown): unknown {
    if (operand.kind === "dot") return dot;
    if (operand.kind === "nil") return null;
    if (operand.kind === "literal") return operand.value;
    if (operand.kind === "pipe") return this.#pipe(operand.pipe, dot);
    if (operand.kind === "function") return this.#functions[operand.name]?.();
    const scope = this.#scopes.findLast((entry) => entry.has(operand.name));
    if (scope === undefined)
      throw new TemplateError(`template: :1: undefined variable ${JSON.stringify(operand.name)}`);
    return scope.get(operand.name);
  }

  #field(receiver: unknown, field: string, args: readonly unknown[]): unknown {
    if (receiver === null || receiver === undefined) {
      throw new TemplateError(`nil pointer evaluating interface {}.${field}`);
    }
    if (typeof receiver !== "object" || Array.isArray(receiver)) {
      const type = Array.isArray(receiver) ? "[]interface {}" : typeof receiver === "number" ? "int" : typeof receiver;
      throw new TemplateError(`can't evaluate field ${field} in type ${type}`);
    }
    const record = receiver as Readonly<Record<string, unknown>>;
    if (!Object.hasOwn(record, field)) return this.#missing?.(record, field);
    const value = record[field];
    if (typeof value === "function") return (value as TemplateFunction)(...args);
    if (args.length > 0) throw new TemplateError(`${field} has arguments but cannot be invoked as function`);
    return value;
  }
}

import { GantryError } from "../base/errors.ts";
import { fieldValue } from "./attributes.ts";
import { HclError } from "./hcl/error.ts";
import { type Callable, evaluate, type Scope } from "./hcl/evaluate.ts";
import { standardFunctions } from "./hcl/functions.ts";
import type { BlockShape } from "./hcl/json.ts";
import type { Attribute, Block, Body, Expression } from "./hcl/syntax.ts";
import { csvRows } from "./hcl/text-functions.ts";
import { convertTo, type Type, typeOf } from "./hcl/type.ts";
import {
  fromPlain,
  isTuple,
  objectOf,
  toBool,
  toObject,
  toText,
  toTuple,
  type Value,
  ValueError,
} from "./hcl/value.ts";
import { FIELDS, isFieldName, layOver, type Target } from "./target.ts";

/** The blocks that a Bake file may have, for HCL's JSON syntax. */
export const BLOCKS: Readonly<Record<string, BlockShape>> = {
  variable: { labels: 1, blocks: { validation: { labels: 0 } } },
  function: { labels: 1 },
  group: { labels: 1 },
  target: { labels: 1 },
};

/** What files say, all laid over each other. */
export interface Definition {
  readonly groups: ReadonlyMap<string, { readonly targets: readonly string[]; readonly description?: string }>;
  readonly targets: ReadonlyMap<string, DefinedTarget>;
  readonly variables: readonly ShownVariable[];
}

export interface DefinedTarget {
  readonly inherits: readonly string[];
  readonly own: Target;
}

export interface ShownVariable {
  readonly name: string;
  readonly value: Value;
  readonly description?: string;
}

interface Variable {
  readonly block: Block;
  readonly body: Body;
}

const TARGET_NAME = /^[a-zA-Z0-9_-]+$/;
const VARIABLE_FIELDS = new Set(["default", "type", "description", "sensitive"]);

/** Evaluates files; `env` is asked for declared variables, and no others. */
export function define(
  bodies: readonly Body[],
  env: (name: string) => string | undefined,
  builtin: ReadonlyMap<string, string>,
): Definition {
  return new Definer(bodies, env, builtin).define();
}

class Definer {
  readonly #bodies: readonly Body[];
  readonly #env: (name: string) => string | undefined;
  readonly #builtin: ReadonlyMap<string, string>;
  readonly #variables = new Map<string, Variable>();
  readonly #locals = new Map<string, { readonly attribute: Attribute; readonly body: Body }>();
  readonly #values = new Map<string, Value>();
  readonly #open = new Set<string>();
  readonly #functions: Map<string, Callable>;
  readonly #targetBlocks = new Map<string, Block[]>();

  constructor(
    bodies: readonly Body[],
    env: (name: string) => string | undefined,
    builtin: ReadonlyMap<string, string>,
  ) {
    this.#bodies = bodies;
    this.#env = env;
    this.#builtin = builtin;
    this.#functions = new Map(standardFunctions());
  }

  define(): Definition {
    for (const body of this.#bodies) this.#collect(body);
    const groups = new Map<string, { targets: string[]; description?: string }>();
    for (const body of this.#bodies) {
      for (const block of body.blocks) if (block.type === "group") this.#defineGroup(groups, block);
    }
    const targets = new Map<string, DefinedTarget>();
    for (const [name, blocks] of this.#targetBlocks) this.#defineTarget(targets, groups, name, blocks);
    const variables = [...this.#variables].map(([name, { block }]) => {
      const description = block.body.attributes.get("description");
      return {
        name,
        value: this.#value(name) ?? null,
        ...(description !== undefined && {
          description: toText(evaluate(description.value, this.#scope(block.body))),
        }),
      };
    });
    return { groups, targets, variables };
  }

  #collect(body: Body): void {
    for (const [name, attribute] of body.attributes) this.#locals.set(name, { attribute, body });
    for (const block of body.blocks) {
      const shape = BLOCKS[block.type];
      if (shape === undefined || !Object.hasOwn(BLOCKS, block.type)) {
        throw new HclError(
          body.source,
          block.typeSpan,
          "Unsupported block type",
          `Blocks of type "${block.type}" are not expected here.`,
        );
      }
      const [name = ""] = block.labels;
      if (block.labels.length !== 1) {
        throw new HclError(
          body.source,
          block.typeSpan,
          "Missing name",
          `All ${block.type} blocks must have 1 label (name).`,
        );
      }
      if (block.type === "variable") this.#declare(name, block, body);
      else if (block.type === "function") this.#functions.set(name, this.#userFunction(name, block));
      else if (block.type === "target") {
        this.#targetBlocks.set(name, [...(this.#targetBlocks.get(name) ?? []), block]);
      }
    }
  }

  #declare(name: string, block: Block, body: Body): void {
    for (const attribute of block.body.attributes.values()) {
      if (!VARIABLE_FIELDS.has(attribute.name)) throw unexpected(block.body, attribute);
    }
    this.#variables.set(name, { block, body });
  }

  #userFunction(name: string, { body, typeSpan }: Block): Callable {
    const words = (field: string): string[] => {
      const attribute = body.attributes.get(field);
      if (attribute === undefined) return [];
      const { value } = attribute;
      const items = value.kind === "tuple" ? value.items : [value];
      return items.map((item) => (item.kind === "variable" ? item.name : toText(evaluate(item, this.#scope(body)))));
    };
    const params = words("params");
    const [rest] = words("variadic_params");
    const result = body.attributes.get("result");
    if (result === undefined) {
      throw new HclError(body.source, typeSpan, "Missing required argument", 'The argument "result" is required.');
    }
    return (args) => {
      if (args.length < params.length || (rest === undefined && args.length > params.length)) {
        throw new ValueError(`${name} takes ${params.length}${rest === undefined ? "" : " or more"} arguments`);
      }
      const own = new Map<string, Value>(params.map((param, index) => [param, args[index]!]));
      if (rest !== undefined) own.set(rest, args.slice(params.length));
      return evaluate(result.value, this.#scope(body, own));
    };
  }

  #defineGroup(groups: Map<string, { targets: string[]; description?: string }>, { labels, body }: Block): void {
    const [name = ""] = labels;
    const former = groups.get(name);
    const scope = this.#scope(body);
    let targets: readonly string[] = [];
    let description: string | undefined;
    for (const attribute of body.attributes.values()) {
      const value = (): Value => evaluate(attribute.value, scope);
      if (attribute.name === "targets") targets = this.#guard(body, attribute, () => toTuple(value()).map(toText));
      else if (attribute.name === "description") description = this.#guard(body, attribute, () => toText(value()));
      else throw unexpected(body, attribute);
    }
    groups.set(name, {
      targets: [...(former?.targets ?? []), ...targets],
      ...(description !== undefined && { description }),
    });
  }

  #defineTarget(
    targets: Map<string, DefinedTarget>,
    groups: Map<string, { targets: string[]; description?: string }>,
    name: string,
    blocks: readonly Block[],
  ): void {
    const matrix = blocks.findLast(({ body }) => body.attributes.has("matrix"));
    if (matrix === undefined) {
      if (!TARGET_NAME.test(name)) throw badName(name);
      const named = blocks.find(({ body }) => body.attributes.has("name"));
      if (named !== undefined) {
        throw new GantryError(
          "invalid",
          `target ${name} has a name without a matrix: only the targets of a matrix are named so`,
        );
      }
      targets.set(name, this.#targetOf(blocks, new Map()));
      return;
    }
    const combinations = this.#combinations(name, matrix);
    const naming = matrix.body.attributes.get("name");
    if (naming === undefined) {
      throw new GantryError("invalid", `target ${name} has a matrix but no name: it needs one for each of its targets`);
    }
    const made: string[] = [];
    for (const variables of combinations) {
      const own = toText(evaluate(naming.value, this.#scope(matrix.body, variables)));
      if (!TARGET_NAME.test(own)) throw badName(own);
      if (targets.has(own))
        throw new GantryError("invalid", `the matrix of target ${name} makes the target ${own} twice`);
      targets.set(own, this.#targetOf(blocks, variables));
      made.push(own);
    }
    if (!made.includes(name)) groups.set(name, { targets: made });
  }

  #combinations(name: string, { body }: Block): Map<string, Value>[] {
    const attribute = body.attributes.get("matrix")!;
    const axes = this.#guard(body, attribute, () => toObject(evaluate(attribute.value, this.#scope(body))));
    let rows: Map<string, Value>[] = [new Map()];
    for (const [axis, values] of Object.entries(axes)) {
      const items = this.#guard(body, attribute, () => toTuple(values));
      if (rows.length * items.length > 10_000)
        throw new GantryError("invalid", `the matrix of target ${name} has too many rows`);
      rows = rows.flatMap((row) => items.map((item) => new Map([...row, [axis, item]])));
    }
    return rows;
  }

  #targetOf(blocks: readonly Block[], variables: ReadonlyMap<string, Value>): DefinedTarget {
    let own: Target = {};
    let inherits: readonly string[] = [];
    for (const { body } of blocks) {
      const scope = this.#scope(body, variables);
      const fields: Record<string, unknown> = {};
      for (const attribute of body.attributes.values()) {
        const { name } = attribute;
        if (name === "matrix" || name === "name") continue;
        const value = (): Value => evaluate(attribute.value, scope);
        if (name === "inherits") inherits = this.#guard(body, attribute, () => toTuple(value()).map(toText));
        else if (isFieldName(name))
          fields[name] = this.#guard(body, attribute, () => fieldValue(FIELDS[name], value()));
        else throw unexpected(body, attribute);
      }
      const [block] = body.blocks;
      if (block !== undefined) {
        throw new HclError(
          body.source,
          block.typeSpan,
          "Unsupported block type",
          `Blocks of type "${block.type}" are not expected here.`,
        );
      }
      own = layOver(own, fields as Target);
    }
    return { inherits, own };
  }

  #guard<T>(body: Body, attribute: Attribute, act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new HclError(
        body.source,
        attribute.value.span,
        "Unsuitable value type",
        `Unsuitable value for "${attribute.name}": ${error.message}.`,
      );
    }
  }

  #scope(body: Body, own?: ReadonlyMap<string, Value>): Scope {
    return {
      source: body.source,
      variable: (name) => (own?.has(name) ? own.get(name)! : this.#value(name)),
      callable: (name) => this.#functions.get(name),
    };
  }

  /** A declared variable, a name that a file sets, or all targets, groups or variables as `target.x.tags`. */
  #value(name: string): Value | undefined {
    const known = this.#values.get(name);
    if (known !== undefined) return known;
    if (this.#open.has(name)) throw new GantryError("invalid", `variable cycle not allowed for ${name}`);
    this.#open.add(name);
    try {
      const value = this.#evaluated(name);
      if (value !== undefined) this.#values.set(name, value);
      return value;
    } finally {
      this.#open.delete(name);
    }
  }

  #evaluated(name: string): Value | undefined {
    const variable = this.#variables.get(name);
    if (variable !== undefined) return this.#variableValue(name, variable);
    const local = this.#locals.get(name);
    if (local !== undefined) return evaluate(local.attribute.value, this.#scope(local.body));
    const builtin = this.#builtin.get(name);
    if (builtin !== undefined) return this.#env(name) ?? builtin;
    if (name === "target") return this.#targetsAsValue();
    return undefined;
  }

  #targetsAsValue(): Value {
    const rows = [...this.#targetBlocks].map(([target, blocks]) => {
      const members = new Map<string, Value>();
      for (const { body } of blocks) {
        for (const { name, value } of body.attributes.values()) {
          if (name === "matrix" || name === "name") continue;
          members.set(name, this.#quiet(value, body));
        }
      }
      return [target, objectOf(members)] as const;
    });
    return objectOf(rows);
  }

  /** What can't be evaluated by itself (it refers to targets, or to a matrix) is null there. */
  #quiet(expression: Expression, body: Body): Value {
    try {
      return evaluate(expression, this.#scope(body));
    } catch (error) {
      if (error instanceof GantryError) return null;
      throw error;
    }
  }

  #variableValue(name: string, { block, body }: Variable): Value {
    const { attributes } = block.body;
    const scope = this.#scope(body);
    const declared = attributes.get("type");
    const type = declared === undefined ? undefined : this.#guard(body, declared, () => typeOf(declared.value));
    const byDefault = attributes.get("default");
    const standard = byDefault === undefined ? null : evaluate(byDefault.value, scope);
    const value = this.#fromEnvironment(name, type, standard) ?? standard;
    const typed =
      type === undefined || byDefault === undefined
        ? value
        : this.#guard(body, byDefault, () => convertTo(value, type));
    this.#validate(name, block, typed);
    return typed;
  }

  #fromEnvironment(name: string, type: Type | undefined, standard: Value): Value | undefined {
    const text = this.#env(name);
    const json = type === undefined ? undefined : this.#env(`${name}_JSON`);
    try {
      if (text === undefined) return json === undefined ? undefined : convertTo(fromPlain(JSON.parse(json)), type!);
      if (type === undefined) return likeDefault(text, standard);
      if (type.name === "list" || type.name === "set" || type.name === "tuple") {
        return convertTo(text === "" ? [] : (csvRows(text)[0] ?? []), type);
      }
      return convertTo(text, type);
    } catch (error) {
      if (error instanceof ValueError || error instanceof SyntaxError) {
        throw new GantryError("invalid", `failed to parse ${name} of the environment: ${error.message}`);
      }
      throw error;
    }
  }

  #validate(name: string, { body }: Block, value: Value): void {
    const rules = body.blocks.filter(({ type }) => type === "validation");
    if (rules.length === 0) return;
    const scope = this.#scope(body, new Map([[name, value]]));
    for (const rule of rules) {
      const condition = rule.body.attributes.get("condition");
      if (condition === undefined) continue;
      if (this.#guard(rule.body, condition, () => toBool(evaluate(condition.value, scope)))) continue;
      const message = rule.body.attributes.get("error_message");
      const text =
        message === undefined
          ? "This check failed, but has an invalid error message."
          : toText(evaluate(message.value, scope));
      throw new HclError(rule.body.source, condition.value.span, "Validation failed", text);
    }
  }
}

/** A variable's text of the environment as a value of the default's type. */
function likeDefault(text: string, standard: Value): Value {
  if (typeof standard === "boolean") return toBool(text.toLowerCase() === "t" ? "true" : text.toLowerCase());
  if (typeof standard === "number") {
    const number = Number(text);
    if (text.trim() === "" || !Number.isFinite(number)) throw new ValueError(`${JSON.stringify(text)} is not a number`);
    return number;
  }
  if (isTuple(standard)) return csvRows(text)[0] ?? [];
  if (standard !== null && typeof standard === "object")
    throw new ValueError("a map can't be set by the environment without a type");
  return text;
}

function unexpected({ source }: Body, { name, nameSpan }: Attribute): HclError {
  return new HclError(source, nameSpan, "Unsupported argument", `An argument named "${name}" is not expected here.`);
}

function badName(name: string): GantryError {
  return new GantryError(
    "invalid",
    `invalid target name ${JSON.stringify(name)}: it may have letters, digits, "-" and "_"`,
  );
}

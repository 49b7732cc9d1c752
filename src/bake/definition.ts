import { GantryError } from "../base/errors.ts";
import { fieldValue } from "./attributes.ts";
import { HclError } from "./hcl/error.ts";
import { type Callable, evaluate, type Scope } from "./hcl/evaluate.ts";
import { standardFunctions } from "./hcl/functions.ts";
import type { BlockShape } from "./hcl/json.ts";
import type { Attribute, Block, Body, Expression, Span } from "./hcl/syntax.ts";
import { CycleError, objectOf, toObject, toText, toTuple, type Value, ValueError } from "./hcl/value.ts";
import { userFunction } from "./own-function.ts";
import { FIELDS, isFieldName, layOver, type Target } from "./target.ts";
import { type ShownVariable, Variable } from "./variables.ts";

/** The blocks that a Bake file may have, for HCL's JSON syntax. */
export const BLOCKS: Readonly<Record<string, BlockShape>> = {
  variable: { labels: 1, blocks: { validation: { labels: 0 } } },
  function: { labels: 1 },
  group: { labels: 1 },
  target: { labels: 1 },
};

/** What files define. */
export interface Definition {
  readonly groups: ReadonlyMap<string, DefinedGroup>;
  readonly targets: ReadonlyMap<string, DefinedTarget>;
  readonly variables: readonly ShownVariable[];
  /** What was passed over, since nobody knows what it means. */
  readonly warnings: readonly string[];
}

export interface DefinedGroup {
  readonly targets: readonly string[];
  readonly description?: string;
}

export interface DefinedTarget {
  readonly inherits: readonly string[];
  readonly own: Target;
}

const TARGET_NAME = /^[a-zA-Z0-9_-]+$/;
const MAX_ROWS = 10_000;

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
  readonly #groups = new Map<string, DefinedGroup>();
  readonly #targets = new Map<string, DefinedTarget>();
  readonly #warnings: string[] = [];

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
    // What is wrong with a variable is said also where nobody uses it.
    const variables = [...this.#variables].map(([name, variable]) => variable.shown(this.#value(name) ?? null));
    for (const body of this.#bodies) {
      for (const block of body.blocks) if (block.type === "group") this.#defineGroup(block);
    }
    for (const [name, blocks] of this.#targetBlocks) this.#defineTarget(name, blocks);
    return { groups: this.#groups, targets: this.#targets, variables, warnings: this.#warnings };
  }

  #collect(body: Body): void {
    for (const [name, attribute] of body.attributes) this.#locals.set(name, { attribute, body });
    for (const block of body.blocks) {
      if (!Object.hasOwn(BLOCKS, block.type)) {
        this.#passOver(body, block.typeSpan, `there are no blocks of type "${block.type}"`);
        continue;
      }
      const [name] = block.labels;
      if (name === undefined || block.labels.length !== 1) throw misnamed(body, block);
      if (block.type === "variable") this.#declare(name, block);
      else if (block.type === "function") {
        this.#functions.set(
          name,
          userFunction(name, block, (own) => this.#scope(block.body, own)),
        );
      } else if (block.type === "target") {
        this.#targetBlocks.set(name, [...(this.#targetBlocks.get(name) ?? []), block]);
      }
    }
  }

  #declare(name: string, block: Block): void {
    const ports = {
      env: this.#env,
      isDeclared: (other: string) => this.#variables.has(other) || this.#builtin.has(other),
      scopeOf: (body: Body, own?: ReadonlyMap<string, Value>) => this.#scope(body, own),
    };
    this.#variables.set(name, new Variable(name, block, ports));
  }

  #passOver({ source }: Body, span: Span, why: string): void {
    this.#warnings.push(new HclError(source, span, "Unknown", `${why}: it is passed over.`).message);
  }

  /** A later group of a name takes the place of the former. */
  #defineGroup({ labels: [name = ""], body }: Block): void {
    const scope = this.#scope(body);
    let group: DefinedGroup = { targets: [] };
    for (const attribute of body.attributes.values()) {
      const value = (): Value => evaluate(attribute.value, scope);
      if (attribute.name === "targets") {
        group = { ...group, targets: this.#guard(body, attribute, () => toTuple(value()).map(toText)) };
      } else if (attribute.name === "description") {
        group = { ...group, description: this.#guard(body, attribute, () => toText(value())) };
      } else {
        this.#passOver(body, attribute.nameSpan, `a group has no "${attribute.name}"`);
      }
    }
    this.#groups.set(name, group);
  }

  #defineTarget(name: string, blocks: readonly Block[]): void {
    const [first] = blocks as readonly [Block, ...Block[]];
    const matrix = blocks.findLast(({ body }) => body.attributes.has("matrix"));
    if (matrix === undefined) {
      const named = blocks.find(({ body }) => body.attributes.has("name"));
      if (named !== undefined) throw badName(named, "name requires matrix");
      if (!TARGET_NAME.test(name)) throw badName(first, NAME_RULE);
      this.#targets.set(name, this.#targetOf(blocks, new Map()));
      return;
    }
    const naming = matrix.body.attributes.get("name");
    const made: string[] = [];
    for (const variables of this.#combinations(name, matrix)) {
      const scope = this.#scope(matrix.body, variables);
      const own = naming === undefined ? name : toText(evaluate(naming.value, scope));
      if (!TARGET_NAME.test(own)) throw badName(matrix, NAME_RULE);
      if (made.includes(own)) throw badName(matrix, `duplicate name ${JSON.stringify(own)}`);
      this.#targets.set(own, this.#targetOf(blocks, variables));
      made.push(own);
    }
    if (made.length > 0 && !made.includes(name)) this.#groups.set(name, { targets: made });
  }

  /** All rows of a matrix, its axes in the order of their names. */
  #combinations(name: string, { body }: Block): Map<string, Value>[] {
    const attribute = body.attributes.get("matrix")!;
    const axes = this.#guard(body, attribute, () => toObject(evaluate(attribute.value, this.#scope(body))));
    let rows: Map<string, Value>[] = [new Map()];
    for (const [axis, values] of Object.entries(axes)) {
      const items = this.#guard(body, attribute, () => toTuple(values));
      if (rows.length * items.length > MAX_ROWS) {
        throw new GantryError("invalid", `the matrix of target ${name} has more than ${MAX_ROWS} rows`);
      }
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
        else this.#passOver(body, attribute.nameSpan, `a target has no "${name}"`);
      }
      const [block] = body.blocks;
      if (block !== undefined) this.#passOver(body, block.typeSpan, `a target has no blocks of type "${block.type}"`);
      own = layOver(own, fields as Target);
    }
    return { inherits, own };
  }

  #guard<T>({ source }: Body, { value }: Attribute, act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new HclError(source, startOf(value), "Unsuitable value type", `Unsuitable value: ${error.message}`);
    }
  }

  #scope(body: Body, own?: ReadonlyMap<string, Value>): Scope {
    return {
      source: body.source,
      variable: (name) => (own?.has(name) ? own.get(name)! : this.#value(name)),
      callable: (name) => this.#functions.get(name),
    };
  }

  /** A declared variable, a name that a file sets, or all targets as `target.x.tags`. */
  #value(name: string): Value | undefined {
    const known = this.#values.get(name);
    if (known !== undefined) return known;
    if (this.#open.has(name)) throw new CycleError(`variable cycle not allowed for ${name}`);
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
    const builtin = this.#builtin.get(name);
    if (builtin !== undefined) return builtin;
    const local = this.#locals.get(name);
    if (local !== undefined) return evaluate(local.attribute.value, this.#scope(local.body));
    const variable = this.#variables.get(name);
    if (variable !== undefined) return variable.value();
    return name === "target" ? this.#targetsAsValue() : undefined;
  }

  #targetsAsValue(): Value {
    const rows = [...this.#targetBlocks].map(([target, blocks]) => {
      const members = new Map<string, Value>();
      for (const { body } of blocks) {
        for (const { name, value } of body.attributes.values()) {
          if (name !== "matrix" && name !== "name") members.set(name, this.#quiet(value, body));
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
}

/** What of a value an error is about: its first token. */
function startOf(value: Expression): Span {
  const { start, end } = value.span;
  if (value.kind === "tuple" || value.kind === "object") return { start, end: start + 1 };
  if (value.kind === "literal" && typeof value.value === "string") return { start: start + 1, end: end - 1 };
  return value.span;
}

const NAME_RULE = 'only "[a-zA-Z0-9_-]+" are allowed';

function badName({ body, labelSpans: [span], typeSpan }: Block, why: string): HclError {
  return new HclError(body.source, span ?? typeSpan, "Invalid name", why);
}

function misnamed({ source }: Body, { type, typeSpan, labels, start, labelSpans }: Block): HclError {
  const detail = `All ${type} blocks must have 1 labels (name).`;
  if (labels.length > 0) {
    return new HclError(
      source,
      labelSpans[1] ?? typeSpan,
      `Extraneous label for ${type}`,
      `Only 1 labels (name) are expected for ${type} blocks.`,
    );
  }
  const brace = source.text.lastIndexOf("{", start);
  return new HclError(source, { start: brace, end: brace + 1 }, `Missing name for ${type}`, detail);
}

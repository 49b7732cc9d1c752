import { GantryError } from "../base/errors.ts";
import { parseBool } from "../base/parse-bool.ts";
import { HclError } from "./hcl/error.ts";
import { evaluate, type Scope } from "./hcl/evaluate.ts";
import type { Attribute, Block, Body } from "./hcl/syntax.ts";
import { csvRows } from "./hcl/text-functions.ts";
import { convertTo, shownType, type Type, typeOf } from "./hcl/type.ts";
import { fromPlain, isObject, isTuple, plain, toBool, toText, type Value, ValueError } from "./hcl/value.ts";

/** As `--list variables` shows one. */
export interface ShownVariable {
  readonly name: string;
  readonly value: Value;
  /** What it is without quotes, or as JSON; null for null. */
  readonly text: string | null;
  /** `list of string`; undefined for one without. */
  readonly type?: string;
  readonly description?: string;
}

/** What a variable's value is made of. */
export interface VariablePorts {
  /** Of the environment, and what `--var` laid over it. */
  readonly env: (name: string) => string | undefined;
  readonly isDeclared: (name: string) => boolean;
  readonly scopeOf: (body: Body, own?: ReadonlyMap<string, Value>) => Scope;
}

type ListType = Extract<Type, { readonly of: Type } | { readonly items: readonly Type[] }>;

const FIELDS = new Set(["default", "type", "description", "sensitive"]);

/** One `variable` block, laid over earlier ones of its name. */
export class Variable {
  readonly name: string;
  readonly #block: Block;
  readonly #ports: VariablePorts;

  constructor(name: string, block: Block, ports: VariablePorts) {
    for (const { name: field, nameSpan } of block.body.attributes.values()) {
      if (FIELDS.has(field)) continue;
      const detail = `An argument named "${field}" is not expected here.`;
      throw new HclError(block.body.source, nameSpan, "Unsupported argument", detail);
    }
    this.name = name;
    this.#block = block;
    this.#ports = ports;
  }

  /** The environment's where that has one, else the default; of its type, and held against its rules. */
  value(): Value {
    const value = this.#value();
    this.#validate(value);
    return value;
  }

  shown(value: Value): ShownVariable {
    const { body } = this.#block;
    const description = body.attributes.get("description");
    const type = this.#type();
    const scope = this.#ports.scopeOf(body);
    return {
      name: this.name,
      value,
      text: value === null ? null : isTuple(value) || isObject(value) ? JSON.stringify(plain(value)) : toText(value),
      ...(type !== undefined && type.name !== "any" && { type: shownType(type) }),
      ...(description !== undefined && { description: toText(evaluate(description.value, scope)) }),
    };
  }

  #value(): Value {
    const { body } = this.#block;
    const type = this.#type();
    const byDefault = body.attributes.get("default");
    const standard = byDefault === undefined ? null : this.#default(byDefault, type);
    const { text, isJson } = this.#override(type !== undefined);
    if (text === undefined) return byDefault === undefined && type === undefined ? "" : standard;
    if (type === undefined) return this.#converted(() => this.#likeDefault(text, standard));
    return this.#converted(() => (isJson ? this.#ofJson(text, type) : this.#ofText(text, type)));
  }

  #type(): Type | undefined {
    const declared = this.#block.body.attributes.get("type");
    if (declared === undefined) return undefined;
    try {
      return typeOf(declared.value);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      const { source } = this.#block.body;
      throw new HclError(source, declared.value.span, "Invalid type specification", error.message);
    }
  }

  #default(attribute: Attribute, type: Type | undefined): Value {
    const value = evaluate(attribute.value, this.#ports.scopeOf(this.#block.body));
    if (type === undefined) return value;
    const what = `invalid type ${shownType(type)} for variable ${this.name} default value`;
    return this.#converted(() => convertTo(value, type), what);
  }

  /** `NAME_JSON` counts where there is no plain value, or where the type says what JSON has to be. */
  #override(isTyped: boolean): { readonly text: string | undefined; readonly isJson: boolean } {
    const { env, isDeclared } = this.#ports;
    const own = env(this.name);
    const other = `${this.name}_JSON`;
    const json = (own === undefined || isTyped) && !isDeclared(other) ? env(other) : undefined;
    return json === undefined ? { text: own, isJson: false } : { text: json, isJson: true };
  }

  #ofJson(text: string, type: Type): Value {
    try {
      return convertTo(fromPlain(JSON.parse(text)), type);
    } catch (error) {
      if (!(error instanceof SyntaxError) && !(error instanceof ValueError)) throw error;
      throw new ValueError(`failed to convert variable ${this.name} from JSON: ${error.message}`);
    }
  }

  #ofText(text: string, type: Type): Value {
    if ((type.name === "list" || type.name === "set" || type.name === "tuple") && ("of" in type || "items" in type))
      return this.#ofCsv(text, type);
    if (type.name === "string" || type.name === "number" || type.name === "bool") {
      return primitive(this.name, text, type.name);
    }
    if (type.name === "any") return text;
    throw new ValueError(`unsupported type ${shownType(type)} for variable ${this.name}`);
  }

  #ofCsv(text: string, type: ListType): Value {
    const fields = text === "" ? [] : (csvRows(text)[0] ?? []);
    const itemType = (index: number): Type | undefined => ("items" in type ? type.items[index] : type.of);
    try {
      const items = fields.map((field, index) => {
        const of = itemType(index);
        if (of === undefined || !["string", "number", "bool"].includes(of.name)) return field;
        return primitive(this.name, field, of.name);
      });
      return convertTo(items, type);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      const where = `failed to parse element of type ${shownType(type)}`;
      throw new ValueError(`failed to convert variable ${this.name} from CSV: ${where}: ${error.message}`);
    }
  }

  /** As a value of the default's type. */
  #likeDefault(text: string, standard: Value): Value {
    if (typeof standard === "boolean") return primitive(this.name, text, "bool");
    if (typeof standard === "number") return primitive(this.name, text, "number");
    if (standard === null || typeof standard === "string") return text;
    const kind = isTuple(standard) ? "tuple" : "object";
    throw new ValueError(`unsupported type ${kind} for variable ${this.name}`);
  }

  #converted<T>(act: () => T, what?: string): T {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      const { body, start } = this.#block;
      const text = what === undefined ? error.message : `${what}: ${error.message}`;
      throw new HclError(body.source, { start, end: start }, "Invalid value", text);
    }
  }

  #validate(value: Value): void {
    const { body } = this.#block;
    const rules = body.blocks.filter(({ type }) => type === "validation");
    const scope = this.#ports.scopeOf(body, new Map([[this.name, value]]));
    for (const rule of rules) {
      const condition = rule.body.attributes.get("condition");
      if (condition === undefined) {
        throw new GantryError("invalid", `a validation of variable ${this.name} has no condition`);
      }
      if (this.#holds(condition, scope)) continue;
      const message = rule.body.attributes.get("error_message");
      const text =
        message === undefined
          ? "This check failed, but has an invalid error message."
          : toText(evaluate(message.value, scope));
      throw new HclError(body.source, condition.value.span, "Validation failed", text);
    }
  }

  #holds(condition: Attribute, scope: Scope): boolean {
    try {
      return toBool(evaluate(condition.value, scope));
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new HclError(scope.source, condition.value.span, "Invalid condition result", `${error.message}.`);
    }
  }
}

/** A text of the environment; what is wrong with it reads as by Go. */
function primitive(name: string, text: string, type: string): Value {
  if (type === "string") return text;
  const call = type === "bool" ? "ParseBool" : "ParseFloat";
  const value =
    type === "bool"
      ? parseBool(text)
      : /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)
        ? Number(text)
        : undefined;
  if (value !== undefined) return value;
  throw new ValueError(
    `failed to parse ${name} as ${type}: strconv.${call}: parsing ${JSON.stringify(text)}: invalid syntax`,
  );
}

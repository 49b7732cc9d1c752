import { HclError } from "./error.ts";
import type { BinaryOperator, Expression, ForExpression, ObjectItem, Source, Span, TemplatePart } from "./syntax.ts";
import {
  ArgumentsError,
  CycleError,
  isEqual,
  isObject,
  isTuple,
  objectOf,
  toBool,
  toNumber,
  toText,
  typeName,
  unified,
  type Value,
  ValueError,
} from "./value.ts";

/** What names mean. */
export interface Scope {
  readonly source: Source;
  /** undefined if there is no such variable. May throw. */
  variable(name: string): Value | undefined;
  /** undefined if there is no such function. */
  callable(name: string): Callable | undefined;
}

export type Callable =
  | ((args: readonly Value[]) => Value)
  /** Sees its arguments unevaluated: `try`, `can`, `convert`. */
  | { readonly lazy: (args: readonly Expression[], evaluate: (expression: Expression) => Value) => Value };

const ELEMENT = "";
const MAX_CALLS = 200;
let calls = 0;

/** The value of an expression. Throws an `HclError`. */
export function evaluate(expression: Expression, scope: Scope): Value {
  const fail = (summary: string, detail: string): HclError =>
    new HclError(scope.source, expression.span, summary, detail);
  switch (expression.kind) {
    case "literal":
      return expression.value;
    case "wrapped":
      return evaluate(expression.inner, scope);
    case "template":
      return renderParts(expression.parts, scope, (detail) => fail("Invalid template interpolation value", detail));
    case "variable": {
      const value = variable(expression.name, scope, fail);
      if (value === undefined) {
        throw fail("Unknown variable", `There is no variable named ${JSON.stringify(expression.name)}.`);
      }
      return value;
    }
    case "element":
      return scope.variable(ELEMENT) ?? null;
    case "attribute":
      return member(evaluate(expression.of, scope), expression.name, failAtStep(expression, scope));
    case "index":
      return member(evaluate(expression.of, scope), evaluate(expression.key, scope), failAtStep(expression, scope));
    case "splat":
      return splat(evaluate(expression.of, scope), expression.each, scope);
    case "call":
      return call(expression, scope);
    case "unary": {
      const operand = evaluate(expression.operand, scope);
      return guarded(
        () => (expression.operator === "-" ? -toNumber(operand) : !toBool(operand)),
        (detail) => fail("Invalid operand", `Unsuitable value for unary operand: ${detail}.`),
      );
    }
    case "binary":
      return binary(expression.operator, expression.left, expression.right, scope, fail);
    case "conditional":
      return conditional(expression, scope, fail);
    case "tuple":
      return expression.items.map((item) => evaluate(item, scope));
    case "object":
      return objectOf(expression.items.map((item) => objectRow(item, scope)));
    case "for":
      return loop(expression, scope, fail);
  }
}

type Fail = (summary: string, detail: string) => HclError;

/** What is wrong with the last step of `a.b[c]`. */
function failAtStep({ of, span }: { readonly of: Expression; readonly span: Span }, { source }: Scope): Fail {
  return (summary, detail) => new HclError(source, { start: of.span.end, end: span.end }, summary, detail);
}

function variable(name: string, scope: Scope, fail: Fail): Value | undefined {
  try {
    return scope.variable(name);
  } catch (error) {
    if (error instanceof CycleError) throw fail("Invalid expression", error.message);
    throw error;
  }
}

function guarded<T>(act: () => T, onError: (detail: string) => Error): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof ValueError) throw onError(error.message);
    throw error;
  }
}

function objectRow(item: ObjectItem, scope: Scope): readonly [string, Value] {
  const key = evaluate(item.key, scope);
  const name = guarded(
    () => toText(key),
    (detail) =>
      new HclError(scope.source, item.key.span, "Incorrect key type", `Can't use this value as a key: ${detail}.`),
  );
  return [name, evaluate(item.value, scope)];
}

function member(of: Value, key: Value, fail: Fail): Value {
  if (of === null)
    throw fail("Attempt to get attribute from null value", "This value is null, so it does not have any attributes.");
  if (isObject(of)) {
    const name = guarded(
      () => toText(key),
      (detail) => fail("Invalid index", detail),
    );
    const value = Object.hasOwn(of, name) ? of[name] : undefined;
    if (value === undefined) {
      throw fail("Unsupported attribute", `This object does not have an attribute named ${JSON.stringify(name)}.`);
    }
    return value;
  }
  if (isTuple(of)) {
    const index = guarded(
      () => toNumber(key),
      (detail) => fail("Invalid index", detail),
    );
    const value = of[index];
    if (value === undefined) {
      throw fail("Invalid index", "The given key does not identify an element in this collection value.");
    }
    return value;
  }
  throw fail("Unsupported attribute", `This value is a ${typeName(of)} and does not have any attributes or elements.`);
}

function splat(of: Value, each: Expression, scope: Scope): Value {
  const elements = of === null ? [] : isTuple(of) ? of : [of];
  return elements.map((element) => evaluate(each, withNames(scope, [[ELEMENT, element]])));
}

function withNames(scope: Scope, names: readonly (readonly [string, Value])[]): Scope {
  const own = new Map(names);
  return {
    source: scope.source,
    variable: (name) => own.get(name) ?? (own.has(name) ? null : scope.variable(name)),
    callable: (name) => scope.callable(name),
  };
}

function call(expression: Extract<Expression, { kind: "call" }>, scope: Scope): Value {
  const { name, args, expands } = expression;
  const { start } = expression.span;
  const fail: Fail = (summary, detail) =>
    new HclError(scope.source, { start, end: start + name.length }, summary, detail);
  const callable = scope.callable(name);
  if (callable === undefined) {
    throw fail("Call to unknown function", `There is no function named ${JSON.stringify(name)}.`);
  }
  if (++calls > MAX_CALLS) {
    calls = 0;
    throw fail("Error in function call", `Function ${JSON.stringify(name)} calls itself without an end.`);
  }
  try {
    if (typeof callable !== "function") return callable.lazy(args, (arg) => evaluate(arg, scope));
    const values = args.map((arg) => evaluate(arg, scope));
    const last = values.at(-1);
    const given = expands && last !== undefined && isTuple(last) ? [...values.slice(0, -1), ...last] : values;
    return callable(given);
  } catch (error) {
    if (error instanceof ArgumentsError) {
      const { end } = expression.span;
      throw new HclError(scope.source, { start: end - 1, end }, error.summary, error.message);
    }
    if (error instanceof ValueError) {
      const span = { start, end: start + name.length + 1 };
      throw new HclError(
        scope.source,
        span,
        "Error in function call",
        `Call to function ${JSON.stringify(name)} failed: ${error.message}.`,
      );
    }
    throw error;
  } finally {
    calls = Math.max(0, calls - 1);
  }
}

function binary(operator: BinaryOperator, left: Expression, right: Expression, scope: Scope, fail: Fail): Value {
  const a = evaluate(left, scope);
  const b = evaluate(right, scope);
  if (operator === "==") return isEqual(a, b);
  if (operator === "!=") return !isEqual(a, b);
  const number = (value: Value, side: string, { span }: Expression): number =>
    guarded(
      () => toNumber(value),
      (detail) =>
        new HclError(scope.source, span, "Invalid operand", `Unsuitable value for ${side} operand: ${detail}.`),
    );
  return guarded(
    () => {
      if (operator === "&&") return toBool(a) && toBool(b);
      if (operator === "||") return toBool(a) || toBool(b);
      return arithmetic(operator, number(a, "left", left), number(b, "right", right));
    },
    (detail) => fail("Invalid operand", `Unsuitable value for operand of ${operator}: ${detail}.`),
  );
}

function arithmetic(operator: BinaryOperator, a: number, b: number): Value {
  if (operator === "<") return a < b;
  if (operator === "<=") return a <= b;
  if (operator === ">") return a > b;
  if (operator === ">=") return a >= b;
  if (operator === "+") return a + b;
  if (operator === "-") return a - b;
  if (operator === "*") return a * b;
  if (b === 0) throw new ValueError("division by zero");
  return operator === "/" ? a / b : a % b;
}

function conditional(expression: Extract<Expression, { kind: "conditional" }>, scope: Scope, fail: Fail): Value {
  const test = evaluate(expression.test, scope);
  const isTrue = guarded(
    () => toBool(test),
    (detail) => fail("Incorrect condition type", `The condition expression must be of type bool: ${detail}.`),
  );
  const chosen = evaluate(isTrue ? expression.yes : expression.no, scope);
  const other = isTrue ? expression.no : expression.yes;
  // Both arms are of one type; only a literal says its own without being evaluated.
  return other.kind === "literal" ? (unified([chosen, other.value])[0] ?? null) : chosen;
}

const MAX_ROWS = 100_000;

function rowsOf(collection: Value): (readonly [key: Value, value: Value])[] {
  if (isTuple(collection)) return collection.map((value, index) => [index, value] as const);
  if (isObject(collection)) return Object.entries(collection);
  throw new ValueError(`Cannot iterate over a ${typeName(collection)}`);
}

function loop(expression: ForExpression, scope: Scope, fail: Fail): Value {
  const rows = guarded(
    () => rowsOf(evaluate(expression.collection, scope)),
    (detail) => fail("Iteration over non-iterable value", `${detail}.`),
  );
  if (rows.length > MAX_ROWS) throw fail("Invalid 'for' expression", `It has more than ${MAX_ROWS} elements.`);
  const values: Value[] = [];
  const members = new Map<string, Value>();
  for (const [key, value] of rows) {
    const inner = loopScope(scope, expression, key, value);
    if (expression.condition !== undefined && evaluate(expression.condition, inner) !== true) continue;
    const made = evaluate(expression.value, inner);
    if (expression.key === undefined) {
      values.push(made);
      continue;
    }
    const named = evaluate(expression.key, inner);
    const name = guarded(
      () => toText(named),
      (detail) => fail("Invalid object key", detail),
    );
    const former = members.get(name);
    if (former !== undefined && !expression.groups) {
      throw fail(
        "Duplicate object key",
        `Two different items produced the key ${JSON.stringify(name)} in this 'for' expression.`,
      );
    }
    members.set(name, expression.groups ? [...((former as Value[] | undefined) ?? []), made] : made);
  }
  return expression.key === undefined ? values : objectOf(members);
}

function loopScope(
  scope: Scope,
  { keyName, valueName }: { readonly keyName: string | undefined; readonly valueName: string },
  key: Value,
  value: Value,
): Scope {
  return withNames(
    scope,
    keyName === undefined
      ? [[valueName, value]]
      : [
          [keyName, key],
          [valueName, value],
        ],
  );
}

function renderParts(parts: readonly TemplatePart[], scope: Scope, fail: (detail: string) => Error): string {
  let text = "";
  for (const part of parts) {
    if (part.kind === "text") {
      text += part.text;
    } else if (part.kind === "value") {
      const value = evaluate(part.value, scope);
      text += guarded(
        () => toText(value),
        (detail) => fail(`Cannot include the given value in a string template: ${detail}.`),
      );
    } else if (part.kind === "if") {
      const test = evaluate(part.test, scope);
      const isTrue = guarded(
        () => toBool(test),
        (detail) => fail(`The condition of if: ${detail}.`),
      );
      text += renderParts(isTrue ? part.yes : part.no, scope, fail);
    } else {
      const rows = guarded(
        () => rowsOf(evaluate(part.collection, scope)),
        (detail) => fail(`${detail}.`),
      );
      for (const [key, value] of rows) text += renderParts(part.body, loopScope(scope, part, key, value), fail);
    }
  }
  return text;
}

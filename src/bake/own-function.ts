import { HclError } from "./hcl/error.ts";
import { type Callable, evaluate, type Scope } from "./hcl/evaluate.ts";
import type { Block, Expression } from "./hcl/syntax.ts";
import { ArgumentsError, type Value } from "./hcl/value.ts";

/** A `function` block. Its result is evaluated in a scope that has its parameters. */
export function userFunction(
  name: string,
  { body, typeSpan }: Block,
  scopeOf: (own: ReadonlyMap<string, Value>) => Scope,
): Callable {
  const words = (field: string): string[] => {
    const attribute = body.attributes.get(field);
    if (attribute === undefined) return [];
    const { value } = attribute;
    return (value.kind === "tuple" ? value.items : [value]).map(wordOf);
  };
  const wordOf = (item: Expression): string => {
    if (item.kind === "variable") return item.name;
    // In JSON's syntax names are texts.
    if (item.kind === "literal" && typeof item.value === "string") return item.value;
    throw new HclError(body.source, item.span, "Invalid param element", "Each parameter name must be an identifier.");
  };
  const params = words("params");
  const [rest] = words("variadic_params");
  const result = body.attributes.get("result");
  if (result === undefined) {
    throw new HclError(body.source, typeSpan, "Missing required argument", 'The argument "result" is required.');
  }
  return (args) => {
    const missing = params[args.length];
    if (missing !== undefined) {
      throw new ArgumentsError(
        "Not enough function arguments",
        `Function ${JSON.stringify(name)} expects ${params.length} argument(s). Missing value for ${JSON.stringify(missing)}.`,
      );
    }
    if (rest === undefined && args.length > params.length) {
      throw new ArgumentsError(
        "Too many function arguments",
        `Function ${JSON.stringify(name)} expects only ${params.length} argument(s).`,
      );
    }
    const own = new Map<string, Value>(params.map((param, index) => [param, args[index]!]));
    if (rest !== undefined) own.set(rest, args.slice(params.length));
    return evaluate(result.value, scopeOf(own));
  };
}

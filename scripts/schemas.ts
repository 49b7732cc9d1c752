// Writes src/api/answer-schemas.ts: the JSON schemas of the types that the table of routes names as answers, made from
// the types themselves. `--check` only says, by its exit code, whether the file is what it would write.
import { execFileSync } from "node:child_process";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { type JsonSchema, orNull } from "../src/api/json-schema.ts";
import { ROUTES, type Route } from "../src/api/routes.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TARGET = resolve(ROOT, "src/api/answer-schemas.ts");

const files = globSync("src/api/*.ts", { cwd: ROOT }).filter((file) => !/\.test\.ts$|answer-schemas\.ts$/.test(file));
const program = ts.createProgram(
  files.map((file) => resolve(ROOT, file)),
  { strict: true, noEmit: true, module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ESNext, skipLibCheck: true },
);
const checker = program.getTypeChecker();
const named = exportedTypes();
const schemas: Record<string, JsonSchema> = {};
for (const name of answerNames()) define(name);

const sorted = Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1)));
const made = format(
  `// Made by scripts/schemas.ts from the types of this folder: don't edit.
import type { JsonSchema } from "./json-schema.ts";

/** The schemas of the types that answers are made of, by name. */
export const ANSWER_SCHEMAS: Readonly<Record<string, JsonSchema>> = ${JSON.stringify(sorted)};
`,
);

if (!process.argv.includes("--check")) writeFileSync(TARGET, made);
else if (readFileSync(TARGET, "utf8") !== made) {
  console.error("src/api/answer-schemas.ts is not what the types say: run 'npm run schemas'.");
  process.exitCode = 1;
}

function answerNames(): readonly string[] {
  const names = Object.values(ROUTES as Readonly<Record<string, Route>>).flatMap(({ answer }) => [
    answer.json,
    answer.lines,
  ]);
  return [...names.filter((name) => name !== undefined).map((name) => name.replace(/\[\]$/, "")), "ErrorResponse"];
}

/** The interfaces and aliases that files of the folder export, by name. */
function exportedTypes(): ReadonlyMap<string, ts.Symbol> {
  const found = new Map<string, ts.Symbol>();
  for (const file of files) {
    const source = program.getSourceFile(resolve(ROOT, file));
    const module = source && checker.getSymbolAtLocation(source);
    for (const symbol of module ? checker.getExportsOfModule(module) : []) {
      if (symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias)) found.set(symbol.name, symbol);
    }
  }
  return found;
}

function define(name: string): void {
  if (name in schemas) return;
  const symbol = named.get(name);
  if (symbol === undefined) throw new Error(`no file of src/api exports a type ${name}, which an answer is said to be`);
  schemas[name] = {};
  schemas[name] = { ...described(symbol), ...schemaOf(checker.getDeclaredTypeOfSymbol(symbol), name) };
}

function described(symbol: ts.Symbol): { description?: string } {
  const text = ts.displayPartsToString(symbol.getDocumentationComment(checker)).replaceAll(/\s+/g, " ").trim();
  return text === "" ? {} : { description: text };
}

/** `inside` is the name that is being defined, so that it doesn't refer to itself. */
function schemaOf(type: ts.Type, inside?: string): JsonSchema {
  const name = (type.aliasSymbol ?? type.symbol)?.name;
  if (name !== undefined && name !== inside && isNamed(type)) {
    define(name);
    return { $ref: `#/components/schemas/${name}` };
  }
  if (type.flags & (ts.TypeFlags.Unknown | ts.TypeFlags.Any)) return {};
  if (type.flags & ts.TypeFlags.Null) return { type: "null" };
  if (type.flags & (ts.TypeFlags.StringLiteral | ts.TypeFlags.NumberLiteral)) {
    const { value } = type as ts.LiteralType;
    return { type: typeof value === "string" ? "string" : "integer", enum: [value as string | number] };
  }
  if (type.flags & ts.TypeFlags.StringLike) return { type: "string" };
  // Docker counts in whole numbers everywhere.
  if (type.flags & (ts.TypeFlags.NumberLike | ts.TypeFlags.BigIntLike)) return { type: "integer", format: "int64" };
  if (type.flags & ts.TypeFlags.BooleanLike) return { type: "boolean" };
  if (type.isUnion()) return unionOf(type.types);
  if (checker.isTupleType(type)) {
    const items = checker.getTypeArguments(type as ts.TypeReference).map((item) => schemaOf(item));
    return { type: "array", prefixItems: items, minItems: items.length, items: false };
  }
  if (checker.isArrayType(type)) {
    return { type: "array", items: schemaOf(checker.getTypeArguments(type as ts.TypeReference)[0]!) };
  }
  return objectOf(type);
}

function isNamed(type: ts.Type): boolean {
  const symbol = type.aliasSymbol ?? type.symbol;
  return symbol !== undefined && named.get(symbol.name) === symbol && type.aliasTypeArguments === undefined;
}

function unionOf(types: readonly ts.Type[]): JsonSchema {
  const there = types.filter((type) => !(type.flags & ts.TypeFlags.Undefined));
  const others = there.filter((type) => !(type.flags & ts.TypeFlags.Null));
  const wrap = others.length < there.length ? orNull : (schema: JsonSchema) => schema;
  if (others.every((type) => type.flags & ts.TypeFlags.BooleanLike)) return wrap({ type: "boolean" });
  if (others.every((type) => type.isStringLiteral())) {
    return wrap({ type: "string", enum: others.map((type) => (type as ts.StringLiteralType).value) });
  }
  const schemas = others.map((type) => schemaOf(type));
  return wrap(schemas.length === 1 ? schemas[0]! : { anyOf: schemas });
}

function objectOf(type: ts.Type): JsonSchema {
  const index = checker.getIndexInfoOfType(type, ts.IndexKind.String);
  const properties: Record<string, JsonSchema> = {};
  const required: string[] = [];
  for (const property of checker.getPropertiesOfType(type)) {
    const schema = schemaOf(checker.getTypeOfSymbol(property));
    properties[property.name] = { ...described(property), ...schema };
    if (!(property.flags & ts.SymbolFlags.Optional)) required.push(property.name);
  }
  return {
    type: "object",
    ...(Object.keys(properties).length === 0 ? {} : { properties }),
    ...(required.length === 0 ? {} : { required }),
    ...(index === undefined || index.type.flags & ts.TypeFlags.Never
      ? {}
      : { additionalProperties: schemaOf(index.type) }),
  };
}

function format(text: string): string {
  const args = ["format", `--stdin-file-path=${TARGET}`];
  return execFileSync(resolve(ROOT, "node_modules/.bin/biome"), args, { cwd: ROOT, input: text, encoding: "utf8" });
}

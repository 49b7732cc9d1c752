/**
 * Writes src/buildkit/generated of what protoc-gen-es has written into src/buildkit/testdata: the same messages, in the
 * form that src/buildkit/message.ts reads, which costs no time at start.
 */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DescField, DescFile, DescMessage } from "@bufbuild/protobuf";

const FOLDER = join(import.meta.dirname, "../src/buildkit");
/** By protobuf's numbers of types. */
const SCALARS: Readonly<Record<number, { readonly kind: string; readonly type: string }>> = {
  3: { kind: "int64", type: "bigint" },
  5: { kind: "int32", type: "number" },
  8: { kind: "bool", type: "boolean" },
  9: { kind: "string", type: "string" },
  12: { kind: "bytes", type: "Uint8Array" },
  13: { kind: "uint32", type: "number" },
};
const WELL_KNOWN: Readonly<Record<string, string>> = {
  "google.protobuf.Timestamp": "Timestamp",
  "google.protobuf.Any": "Any",
  "google.protobuf.Empty": "Empty",
};

interface Kind {
  readonly kind: string;
  readonly type: string;
}

for (const name of readdirSync(join(FOLDER, "generated"))) rmSync(join(FOLDER, "generated", name));
for (const name of readdirSync(join(FOLDER, "testdata")).filter((each) => each.endsWith("_pb.ts"))) {
  const module = (await import(join(FOLDER, "testdata", name))) as Record<string, unknown>;
  const file = module[`file_${name.slice(0, -"_pb.ts".length)}`] as DescFile;
  writeFileSync(join(FOLDER, "generated", name.replace("_pb.ts", ".ts")), codeOf(file));
}

function codeOf(file: DescFile): string {
  const imports = new Map<string, Set<string>>([["../message.ts", new Set(["schema", "type Schema"])]]);
  const use = (from: string, what: string): void => {
    imports.set(from, (imports.get(from) ?? new Set()).add(what));
  };
  const kindOf = (message: DescMessage): Kind => {
    const known = WELL_KNOWN[message.typeName];
    const name = known ?? message.name;
    const from =
      known !== undefined ? "../message.ts" : message.file === file ? undefined : `./${message.file.name}.ts`;
    if (from !== undefined) {
      use(from, `type ${name}`);
      use(from, `${name}Schema`);
    }
    return { kind: `() => ${name}Schema`, type: name };
  };
  const messages = file.messages.map((message) => messageCode(message, kindOf));
  const services = file.services.map(({ name, typeName, methods }) => {
    if (methods.length > 0) use("../methods.ts", "service");
    const rows = methods.map(({ input, localName, name: method, output }) => {
      const [request, response] = [kindOf(input), kindOf(output)].map(({ type }) => `${type}Schema`);
      return `  ${localName}: ["${method}", ${request}, ${response}],`;
    });
    return `export const ${name} = service("${typeName}", {\n${rows.join("\n")}\n});\n`;
  });
  const heads = [...imports]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([from, names]) => {
      return `import { ${[...names].sort().join(", ")} } from "${from}";`;
    });
  const head = "// Written by `npm run protos` of the protos beside this folder.\n\n";
  return `${head}${heads.join("\n")}\n\n${[...messages, ...services].join("\n")}`;
}

function messageCode(message: DescMessage, kindOf: (message: DescMessage) => Kind): string {
  const oneofs = message.oneofs.map(({ fields, localName }) => {
    const cases = fields.map((field) => `    | { case: "${field.localName}"; value: ${singular(field, kindOf).type} }`);
    return `  ${localName}:\n${cases.join("\n")}\n    | { case: undefined; value?: undefined };`;
  });
  const members = message.fields.filter(({ oneof }) => oneof === undefined).map((field) => memberCode(field, kindOf));
  const rows = message.fields.map((field) => rowCode(field, kindOf));
  const { name, typeName } = message;
  const type =
    members.length + oneofs.length === 0
      ? `export type ${name} = Record<string, never>;\n`
      : `export interface ${name} {\n${[...members, ...oneofs].join("\n")}\n}\n`;
  const list = rows.length === 0 ? "[]" : `[\n${rows.map((row) => `  ${row},`).join("\n")}\n]`;
  return `${type}\nexport const ${name}Schema: Schema<${name}> = schema("${typeName}", ${list});\n`;
}

function memberCode(field: DescField, kindOf: (message: DescMessage) => Kind): string {
  const { fieldKind, localName } = field;
  const { type } = singular(field, kindOf);
  if (fieldKind === "list") return `  ${localName}: ${type}[];`;
  if (fieldKind === "map") return `  ${localName}: Record<string, ${type}>;`;
  return fieldKind === "message" ? `  ${localName}?: ${type} | undefined;` : `  ${localName}: ${type};`;
}

function rowCode(field: DescField, kindOf: (message: DescMessage) => Kind): string {
  const { kind } = singular(field, kindOf);
  const isName = !kind.includes("=>");
  const key = field.fieldKind === "map" ? SCALARS[field.mapKey]?.kind : undefined;
  const extra = {
    ...(field.fieldKind === "list" && { repeated: "true" }),
    ...(key !== undefined && { key: `"${key}"` }),
    ...(field.oneof !== undefined && { oneof: `"${field.oneof.localName}"` }),
  };
  const more = Object.entries(extra).map(([name, value]) => `, ${name}: ${value}`);
  return `{ name: "${field.localName}", number: ${field.number}, kind: ${isName ? `"${kind}"` : kind}${more.join("")} }`;
}

/** Of one value: of a list's or map's, one of them. */
function singular(field: DescField, kindOf: (message: DescMessage) => Kind): Kind {
  const message = field.message;
  if (message !== undefined) return kindOf(message);
  const scalar = SCALARS[field.scalar ?? 0];
  if (scalar === undefined) throw new Error(`${field.toString()} has a type that message.ts doesn't know`);
  return scalar;
}

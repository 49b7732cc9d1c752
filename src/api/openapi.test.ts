import assert from "node:assert/strict";
import { test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import { ANSWER_SCHEMAS } from "./answer-schemas.ts";
import { BODIES } from "./bodies.ts";
import { decodeJson } from "./decode.ts";
import { openApiDocument } from "./openapi.ts";
import { ROUTES, type Route } from "./routes.ts";
import type { Shape } from "./shape.ts";

const rows = Object.entries(ROUTES as Readonly<Record<string, Route>>);
const document = openApiDocument("0.0.0");

test("the document is valid OpenAPI 3.1, and every reference in it leads somewhere", async () => {
  const { valid, errors } = await new Validator().validate(
    JSON.parse(JSON.stringify(document)) as Record<string, unknown>,
  );
  assert.ok(valid, String(JSON.stringify(errors)).slice(0, 2000));
  for (const [, name] of JSON.stringify(document).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
    assert.ok(name !== undefined && name in document.components.schemas, name);
  }
});

test("each route of the table is one operation of the document", () => {
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path) as { operationId: string }[]);
  assert.deepEqual(operations.map(({ operationId }) => operationId).sort(), rows.map(([name]) => name).sort());
});

test("no body has the name of an answer's type", () => {
  assert.deepEqual(
    Object.keys(BODIES).filter((name) => name in ANSWER_SCHEMAS),
    [],
  );
});

test("the table says of each route what people and clients need", () => {
  for (const [name, route] of rows) {
    assert.match(route.summary, /^[A-Z][^.]*[^.]$/, `${name}: ${route.summary}`);
    if (route.since !== undefined) assert.match(route.since, /^1\.\d\d$/, name);
    for (const param of Object.keys(route.paramVersions ?? {})) assert.ok(param in route.query, `${name} ${param}`);
    if (route.hijacks) assert.equal(route.access, "write", `${name} attaches`);
    if (route.method === "PUT" || route.method === "DELETE") assert.equal(route.access, "write", name);
  }
});

test("what a shape calls its schema is what it reads: an empty body, and a value of each field's type", () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  for (const [name, shape] of Object.entries(BODIES) as [string, Shape<unknown>][]) {
    const schema = shape.schema();
    const validate = ajv.compile(schema);
    assert.ok(validate({}), `${name} may be empty`);
    for (const [field, expected] of Object.entries(schema.properties ?? {})) {
      const sample = sampleOf(expected);
      const body = { [field]: sample };
      assert.ok(validate(body), `${name}.${field}: ${JSON.stringify(sample)}: ${ajv.errorsText(validate.errors)}`);
      assert.doesNotThrow(() => decodeJson(shape, JSON.stringify(body)), `${name}.${field}`);
      const wrong = [expected.type].flat().includes("boolean") ? "x" : true;
      assert.ok(!validate({ [field]: wrong }), `${name}.${field} takes ${wrong}`);
      assert.throws(() => decodeJson(shape, JSON.stringify({ [field]: wrong })), { kind: "invalid" });
    }
  }
});

/** A value that fits a schema. */
function sampleOf(schema: {
  type?: string | readonly string[];
  anyOf?: readonly object[];
  items?: object | false;
  additionalProperties?: object | false;
}): unknown {
  if (schema.anyOf !== undefined) return sampleOf(schema.anyOf[0]!);
  const type = typeof schema.type === "string" ? schema.type : schema.type?.[0];
  if (type === "string") return "x";
  if (type === "integer") return 1;
  if (type === "boolean") return true;
  if (type === "array") return schema.items ? [sampleOf(schema.items)] : [];
  return schema.additionalProperties ? { key: sampleOf(schema.additionalProperties) } : {};
}

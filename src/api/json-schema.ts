/** As much of JSON Schema 2020-12 as the API's own document needs. */
export interface JsonSchema {
  readonly $ref?: string;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly format?: string;
  readonly enum?: readonly (string | number | boolean | null)[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: JsonSchema | false;
  readonly prefixItems?: readonly JsonSchema[];
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | false;
  readonly anyOf?: readonly JsonSchema[];
}

/** The same, or null. */
export function orNull(schema: JsonSchema): JsonSchema {
  if (schema.type === undefined || schema.enum !== undefined) return { anyOf: [schema, { type: "null" }] };
  const types = typeof schema.type === "string" ? [schema.type] : schema.type;
  return types.includes("null") ? schema : { ...schema, type: [...types, "null"] };
}

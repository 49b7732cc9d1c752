import { ANSWER_SCHEMAS } from "./answer-schemas.ts";
import { BODIES } from "./bodies.ts";
import type { JsonSchema } from "./json-schema.ts";
import { type Choice, type QueryKind, type Reading, readsAs } from "./query.ts";
import { type AnswerSpec, type BodySpec, ROUTES, type Route, type VersionRange } from "./routes.ts";
import { API_VERSION } from "./version.ts";

/** The whole API as an OpenAPI 3.1 document, made of the table of routes. */
export function openApiDocument(engineVersion: string): OpenApiDocument {
  const paths: Record<string, Record<string, object>> = {};
  const tags = new Set<string>();
  for (const [name, route] of Object.entries(ROUTES as Readonly<Record<string, Route>>)) {
    const path = route.path.replaceAll(/[:*](\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(name, route) };
    tags.add(tagOf(name));
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "Gantry Engine API",
      version: API_VERSION,
      description: `Docker's Engine API as Gantry ${engineVersion} serves it. Each path may be prefixed with a version (\`/v1.24\` to \`/v${API_VERSION}\`); without one the newest is spoken.`,
    },
    servers: [{ url: `/v${API_VERSION}` }, { url: "/" }],
    tags: [...tags].map((name) => ({ name })),
    paths,
    components: {
      schemas: {
        ...ANSWER_SCHEMAS,
        ...Object.fromEntries(Object.entries(BODIES).map(([name, shape]) => [name, shape.schema()])),
      },
    },
  };
}

export interface OpenApiDocument {
  readonly openapi: string;
  readonly info: object;
  readonly servers: readonly object[];
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, object>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

const NOUNS = ["container", "exec", "image", "network", "volume", "swarm", "plugin", "build", "distribution"];

/** A route's name begins with its noun; what has none is about the whole system. */
function tagOf(name: string): string {
  const noun = /^[a-z]+/.exec(name)?.[0] ?? "";
  return NOUNS.includes(noun) ? noun : "system";
}

function operation(name: string, route: Route): object {
  const parameters = [
    ...[...route.path.matchAll(/[:*](\w+)/g)].map(([whole, param]) => ({
      name: param,
      in: "path",
      required: true,
      description: whole?.startsWith("*") ? "May have slashes in it." : undefined,
      schema: { type: "string", minLength: 1 },
    })),
    ...Object.entries(route.query).map(([param, kind]) => queryParameter(param, kind, route.paramVersions?.[param])),
  ];
  return {
    operationId: name,
    summary: route.summary,
    ...(route.since === undefined ? {} : { description: `Since API version ${route.since}.` }),
    tags: [tagOf(name)],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined ? {} : { requestBody: { content: bodyContent(route.body) } }),
    responses: responses(route),
    "x-gantry-access": route.access,
  };
}

function queryParameter(name: string, kind: QueryKind | Choice, versions: VersionRange = {}): object {
  const { schema, description, json }: Reading =
    typeof kind === "object" ? { schema: { type: "string", enum: kind.oneOf } } : readsAs[kind];
  const told = [
    description,
    versions.since && `Since API version ${versions.since}.`,
    versions.until && `Before API version ${versions.until}.`,
  ].filter((text) => text !== undefined);
  return {
    name,
    in: "query",
    ...(told.length === 0 ? {} : { description: told.join(" ") }),
    ...(json ? { content: { "application/json": { schema } } } : { schema }),
  };
}

function bodyContent(body: BodySpec): object {
  if ("media" in body) return { [body.media]: {} };
  return { "application/json": { schema: { $ref: `#/components/schemas/${body.json}` } } };
}

function responses(route: Route): object {
  const answers: Record<string, object> = {
    [route.answer.status ?? 200]: { description: "It is done.", ...answerContent(route.answer) },
  };
  if (route.hijacks) answers[101] = { description: "The connection is a stream from here on." };
  const refusals: Readonly<Record<number, string>> = REFUSALS;
  for (const status of [400, ...(route.errors ?? []), 500]) {
    const content = { "application/json": { schema: { $ref: "#/components/schemas/ErrorResponse" } } };
    answers[status] = { description: refusals[status] ?? "It is refused.", ...(status === 304 ? {} : { content }) };
  }
  return answers;
}

const REFUSALS = {
  304: "Nothing had to be done.",
  400: "The request is not understood.",
  401: "The credentials are not accepted.",
  403: "It is not allowed.",
  404: "There is no such thing.",
  409: "What is there stands in the way.",
  500: "The engine failed.",
  501: "This engine can't do it.",
  503: "It can't be done now.",
} as const;

function answerContent(answer: AnswerSpec): object {
  if (answer.json !== undefined) return { content: { "application/json": { schema: typeSchema(answer.json) } } };
  if (answer.lines !== undefined) {
    const description = "JSON values of this type, one a line.";
    return { description, content: { "application/json": { schema: typeSchema(answer.lines) } } };
  }
  return answer.media === undefined ? {} : { content: { [answer.media]: {} } };
}

function typeSchema(name: string): JsonSchema {
  const schema = { $ref: `#/components/schemas/${name.replace(/\[\]$/, "")}` };
  return name.endsWith("[]") ? { type: "array", items: schema } : schema;
}

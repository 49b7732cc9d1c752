import { formatPlatform } from "../../oci/platform.ts";
import type { BuildRecord, BuildRequest, ContextSource } from "../builder.ts";
import { withoutPassword } from "../shown-address.ts";

const LONGEST_VALUE = 4096;
const MOST_ATTRIBUTES = 500;

/** A build's record at its begin: what was asked for. Values of secrets are in no request; passwords in URLs are left out. */
export function describeRequest(request: BuildRequest): BuildRecord {
  const { buildArgs, dockerfile, labels, namedContexts } = request;
  const rows: [string, string][] = [["context", contextName(request.context)]];
  rows.push(["filename", "path" in dockerfile ? dockerfile.path : "-"]);
  if (request.target !== "") rows.push(["target", request.target]);
  if (request.noCache) rows.push(["no-cache", ""]);
  else if (request.noCacheFilter.length > 0) rows.push(["no-cache", request.noCacheFilter.join(",")]);
  if (request.pull) rows.push(["pull", "true"]);
  if (request.network !== "default") rows.push(["network", request.network]);
  for (const [name, value] of buildArgs) rows.push([`build-arg:${name}`, value]);
  for (const [name, value] of labels) rows.push([`label:${name}`, value]);
  for (const [name, value] of namedContexts) rows.push([`context:${name}`, value]);
  for (const [name, value] of Object.entries(request.options ?? {}))
    if (name.startsWith("vcs:")) rows.push([name, value]);
  for (const [index, { attributes, type }] of request.outputs.entries()) {
    rows.push([
      `output:${index}`,
      [`type=${type}`, ...[...attributes].map(([key, value]) => `${key}=${value}`)].join(","),
    ]);
  }
  return {
    id: request.id,
    name: nameOf(request),
    createdAt: Date.now(),
    target: request.target,
    platforms: request.platforms.map(formatPlatform),
    steps: 0,
    cachedSteps: 0,
    warnings: 0,
    attributes: presentableRows(rows),
    metadata: {},
    ...(request.options !== undefined && { options: presentableRows(Object.entries(request.options)) }),
    outputs: request.outputs.map(({ attributes, type }) => ({ type, attributes: presentableRows([...attributes]) })),
  };
}

function presentableRows(rows: readonly (readonly [string, string])[]): Record<string, string> {
  return Object.fromEntries(rows.slice(0, MOST_ATTRIBUTES).map(([key, value]) => [key, presentable(value)]));
}

/** As people call it: by the image that comes of it, else by its Dockerfile. */
function nameOf({ context, dockerfile, outputs, target }: BuildRequest): string {
  const image = outputs.flatMap(({ attributes }) => attributes.get("name")?.split(",")[0] || [])[0];
  const file = "path" in dockerfile ? dockerfile.path : "Dockerfile";
  const name =
    image ?? [context.type === "git" || context.type === "http" ? context.url : "", file].filter(Boolean).join(" ");
  return presentable(target === "" || image !== undefined ? name : `${name} (${target})`);
}

function contextName(context: ContextSource): string {
  switch (context.type) {
    case "session":
      return context.name;
    case "archive":
      return "archive";
    case "git":
    case "http":
      return context.url;
    case "input":
      return `input:${context.input}`;
    case "none":
      return "";
  }
}

function presentable(value: string): string {
  return withoutPassword(value).slice(0, LONGEST_VALUE);
}

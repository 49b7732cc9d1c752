import { GantryError } from "../base/errors.ts";
import type { Ulimit } from "./container.ts";
import { decodeJson } from "./decode.ts";
import * as go from "./shape.ts";

/** Parameters of POST /build that are JSON documents. */

const arguments_ = go.map(go.optional(go.text) as go.Shape<string | null>);
const texts = go.list(go.text);
const labels = go.map(go.text);
const outputs = go.list(go.struct<BuildOutputRow>("types.ImageBuildOutput", { Type: go.text, Attrs: go.map(go.text) }));
const ulimits = go.list(go.struct<Ulimit>("units.Ulimit", { Name: go.text, Soft: go.int64, Hard: go.int64 }));

/** Where what is built goes, as BuildKit's clients say it. */
export interface BuildOutputRow {
  Type: string;
  Attrs: Record<string, string> | null;
}

export function decodeBuildOutputs(document: string | undefined): readonly BuildOutputRow[] {
  return decode(outputs, document, "invalid outputs specified") ?? [];
}

/** Arguments with a value. One without has none to give. */
export function decodeBuildArgs(document: string | undefined): Map<string, string> {
  const given = Object.entries(decode(arguments_, document, "error reading build args") ?? {});
  return new Map(given.flatMap(([name, value]) => (typeof value === "string" ? [[name, value] as const] : [])));
}

export function decodeBuildLabels(document: string | undefined): Map<string, string> {
  return new Map(Object.entries(decode(labels, document, "error reading labels") ?? {}));
}

export function decodeUlimits(document: string | undefined): readonly Ulimit[] {
  return decode(ulimits, document, "error reading ulimit settings") ?? [];
}

export function decodeCacheFrom(document: string | undefined): readonly string[] {
  return decode(texts, document, "error reading cache-from") ?? [];
}

function decode<T>(shape: go.Shape<T>, document: string | undefined, failure: string): T | undefined {
  if (document === undefined || document === "") return undefined;
  try {
    return decodeJson(shape, document);
  } catch (error) {
    if (!(error instanceof GantryError)) throw error;
    throw new GantryError(error.kind, `${failure}: ${error.message.replace(/^invalid JSON: /, "")}`, { cause: error });
  }
}

import { resolve } from "node:path";
import { GantryError } from "../../base/errors.ts";
import type { Asked } from "./asked.ts";
import { LayoutStore } from "./layout-store.ts";
import type { Result } from "./results.ts";
import { type Typed, typed } from "./typed.ts";

/** What is made of a build: exporters by number, and where on this machine their files go. */
export function outputsOf(
  asked: Asked,
  stores: Map<string, LayoutStore>,
): { exporters: Typed[]; results: ReadonlyMap<string, Result> } {
  const results = new Map<string, Result>();
  if (asked.call !== "build") return { exporters: [], results };
  const given = asked.outputs.map((text) =>
    typed(text, (word) =>
      word === "-" ? { type: "tar", attributes: { dest: "-" } } : { type: "local", attributes: { dest: word } },
    ),
  );
  if (asked.push && asked.load && given.length === 0) given.push({ type: "image", attributes: { push: "true" } });
  else if (asked.push) pushing(given);
  else if (asked.load && !given.some(({ type, attributes }) => type === "docker" && attributes.dest === undefined))
    given.push({ type: "image", attributes: {} });
  if (given.length === 0) given.push({ type: "image", attributes: {} });
  const exporters = given.map((output, index) => outputOf(asked, output, String(index), results, stores));
  return { exporters, results };
}

/** `--push` adds a push to the image that is made anyway. */
function pushing(given: Typed[]): void {
  const at = given.findIndex(({ type }) => type === "image" || type === "registry");
  if (at < 0) given.push({ type: "image", attributes: { push: "true" } });
  else given[at] = { ...given[at]!, attributes: { ...given[at]!.attributes, push: "true" } };
}

function outputOf(
  asked: Asked,
  { type, attributes }: Typed,
  id: string,
  results: Map<string, Result>,
  stores: Map<string, LayoutStore>,
): Typed {
  const { dest, ...rest } = attributes;
  const named = ["image", "registry", "oci", "docker"].includes(type);
  const kept: Record<string, string> = { ...rest };
  if (named && asked.tags.length > 0 && kept.name === undefined) kept.name = asked.tags.join(",");
  if (named) for (const annotation of asked.annotations) annotate(kept, annotation);
  // Without a place of its own an image of Docker's kind goes into the engine's store.
  if (type === "docker" && dest === undefined) return { type: "image", attributes: kept };
  if (type === "local") {
    if (dest === undefined || dest === "") throw new GantryError("invalid", "dest is required for local output");
    results.set(id, { type: "folder", path: resolve(dest) });
  } else if (type === "tar" || type === "oci" || type === "docker") {
    if (rest.tar === "false" && dest !== undefined) {
      stores.set("export", new LayoutStore(resolve(dest)).prepare());
      return { type, attributes: { ...kept, dest: resolve(dest) } };
    }
    if (dest === undefined || dest === "-") {
      if (process.stdout.isTTY)
        throw new GantryError("invalid", `dest file is required for ${type} exporter. refusing to write to console`);
      results.set(id, { type: "stdout" });
    } else {
      results.set(id, { type: "file", path: resolve(dest) });
    }
  } else if (dest !== undefined) {
    throw new GantryError("invalid", `${type} output has no dest: what it makes stays with the engine or a registry`);
  }
  return { type, attributes: kept };
}

/** `[manifest,index:]key=value`. */
function annotate(attributes: Record<string, string>, given: string): void {
  const [, kinds, key = "", value = ""] =
    /^(?:((?:manifest|index|manifest-descriptor|index-descriptor)(?:\[[^\]]*\])?(?:,[^:=]*)?):)?([^=]+)=(.*)$/s.exec(
      given,
    ) ?? [];
  if (key === "") throw new GantryError("invalid", `invalid annotation "${given}": it has to be key=value`);
  for (const kind of (kinds ?? "").split(",")) {
    const prefix = kind === "" || kind === "manifest" ? "annotation" : `annotation-${kind}`;
    attributes[`${prefix}.${key}`] = value;
  }
}

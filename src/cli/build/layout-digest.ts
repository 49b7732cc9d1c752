import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, messageOf } from "../../base/errors.ts";

/** Of a layout's index, the manifest with a name, or its only one. */
export function layoutDigest(folder: string, tag: string): string {
  let index: { manifests?: { digest?: string; annotations?: Record<string, string> }[] };
  try {
    index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as typeof index;
  } catch (error) {
    throw new GantryError("invalid", `cannot read the OCI layout ${folder}: ${messageOf(error)}`);
  }
  const manifests = index.manifests ?? [];
  const named = manifests.filter(({ annotations = {} }) => annotations["org.opencontainers.image.ref.name"] === tag);
  const found = tag === "" && manifests.length === 1 ? manifests[0] : named[0];
  if (found?.digest === undefined) {
    const names = manifests.map(
      ({ annotations = {} }) => annotations["org.opencontainers.image.ref.name"] ?? "(no name)",
    );
    throw new GantryError(
      "not-found",
      `the OCI layout ${folder} has no image ${tag || "without a name"}: it has ${names.join(", ") || "none"}`,
    );
  }
  return found.digest;
}

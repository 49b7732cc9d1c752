import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import type { Prepared } from "./request.ts";

/** What a layout on this machine needs besides its blobs: the engine says which manifest is its. */
export function writeIndexes(prepared: Prepared, response: ReadonlyMap<string, string>): void {
  for (const { type, attributes } of prepared.cacheExports) {
    const manifest = response.get("cache.manifest");
    const { dest, tag } = attributes;
    if (type === "local" && manifest !== undefined && dest !== undefined) addToIndex(dest, manifest, tag ?? "latest");
  }
  for (const { type, attributes } of prepared.exporters) {
    const { dest, tar, name } = attributes;
    const encoded = response.get("containerimage.descriptor");
    if ((type !== "oci" && type !== "docker") || tar !== "false" || dest === undefined || encoded === undefined)
      continue;
    addToIndex(dest, Buffer.from(encoded, "base64").toString(), name?.split(",")[0] ?? "latest");
  }
}

function addToIndex(folder: string, descriptor: string, tag: string): void {
  const file = join(folder, "index.json");
  interface Row {
    readonly annotations?: Readonly<Record<string, string>>;
  }
  let manifests: readonly Row[] = [];
  try {
    manifests = (JSON.parse(readFileSync(file, "utf8")) as { manifests?: Row[] }).manifests ?? [];
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw new GantryError("invalid", `cannot read ${file}: ${messageOf(error)}`);
  }
  const name = "org.opencontainers.image.ref.name";
  const row = JSON.parse(descriptor) as Row;
  const others = manifests.filter(({ annotations }) => annotations?.[name] !== tag);
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [...others, { ...row, annotations: { ...row.annotations, [name]: tag } }],
  };
  writeFileSync(`${file}.new`, JSON.stringify(index));
  renameSync(`${file}.new`, file);
}

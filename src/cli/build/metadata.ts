import type { Built } from "./run.ts";

/** `--metadata-file`: what the engine answered, JSON where it is some. */
export function metadataOf({ ref, response }: Built): string {
  const rows: Record<string, unknown> = { "buildx.build.ref": `default/default/${ref}` };
  for (const [name, value] of [...response].sort(([a], [b]) => (a < b ? -1 : 1))) rows[name] = decoded(name, value);
  return `${JSON.stringify(rows, undefined, 2)}\n`;
}

function decoded(name: string, value: string): unknown {
  if (
    name === "containerimage.descriptor" ||
    name === "containerimage.buildinfo" ||
    name.startsWith("buildx.build.provenance")
  ) {
    try {
      return JSON.parse(Buffer.from(value, "base64").toString());
    } catch {
      return value;
    }
  }
  return value;
}

/** The image's id where there is one: of its config, or of an index its own digest. */
export function imageIdOf({ response }: Built): string {
  return response.get("containerimage.config.digest") ?? response.get("containerimage.digest") ?? "";
}

import { randomBytes } from "node:crypto";
import { throwIfAborted } from "../../base/abort.ts";
import { Breath } from "../../base/breath.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { AssembledLayer, ImageAssembly, PackOptions } from "../../images/assemble.ts";
import { decompress } from "../../oci/compression.ts";
import { LayerWriter } from "../../snapshots/layer-writer.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { Roots } from "../roots.ts";

export interface SquashPorts {
  readonly snapshots: Pick<Snapshotter, "prepare" | "mount" | "commit" | "remove" | "has">;
  readonly roots: Pick<Roots, "place" | "clear">;
}

/** All changes of some layers as one, over the snapshot below the first of them. */
export async function squash(
  { roots, snapshots }: SquashPorts,
  assembly: ImageAssembly,
  layers: readonly AssembledLayer[],
  below: string | undefined,
  options: PackOptions,
): Promise<AssembledLayer> {
  const key = `squash-${randomBytes(12).toString("hex")}`;
  const name = `sha256:${randomBytes(32).toString("hex")}`;
  const place = roots.place();
  try {
    try {
      await snapshots.prepare(key, below);
      await snapshots.mount(key, place, { volatile: true });
      for (const layer of layers) await apply(assembly, layer, place, options.signal);
    } finally {
      await roots.clear(place);
    }
    assembly.claim(name);
    failpoint("build.squash.applied");
    await snapshots.commit(name, key);
    failpoint("build.squash.committed");
  } catch (error) {
    if (snapshots.has(key)) await snapshots.remove(key);
    throw error;
  }
  return assembly.layer(() => name, options);
}

/** Through the mount, so that a later layer may take away what an earlier one brought. */
async function apply(
  assembly: ImageAssembly,
  { blob }: AssembledLayer,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const { stream } = await decompress(assembly.read(blob.digest));
  const writer = new LayerWriter(folder, "deletions");
  const breath = new Breath();
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      throwIfAborted(signal);
      writer.write(piece);
      await breath.take();
    }
    writer.finish();
  } finally {
    writer.close();
  }
}

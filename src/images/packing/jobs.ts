import { closeSync, openSync, writeSync } from "node:fs";
import { throwIfAborted } from "../../base/abort.ts";
import { Breath } from "../../base/breath.ts";
import { Digester } from "../../oci/digest.ts";
import { SizeCount } from "../../snapshots/changes.ts";
import { LayerWriter } from "../../snapshots/layer-writer.ts";
import { packSource } from "../../snapshots/pack-source.ts";
import type { GrowingFile } from "./growing-file.ts";
import type { Laid, LayOrder, Packed, PackOrder } from "./messages.ts";

const SLICE = 1 << 16;

/** Writes the tar of a snapshot's layer, and digests it. */
export async function pack(
  { source, to }: PackOrder,
  { onWritten, signal }: { readonly signal: AbortSignal; readonly onWritten: (bytes: number) => void },
): Promise<Packed> {
  const fd = openSync(to, "w");
  try {
    const digester = new Digester();
    const count = new SizeCount();
    for await (const piece of packSource(source, { count, oneByOne: true })) {
      throwIfAborted(signal);
      for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at);
      digester.update(piece);
      onWritten(digester.size);
    }
    return { job: "pack", digest: digester.digest(), size: digester.size, filesSize: count.total };
  } finally {
    closeSync(fd);
  }
}

/** Extracts a layer while its file grows. */
export async function lay({ folder, whiteouts }: LayOrder, file: GrowingFile, signal: AbortSignal): Promise<Laid> {
  const writer = new LayerWriter(folder, whiteouts);
  try {
    const breath = new Breath();
    for await (const piece of file.read(signal)) {
      for (let at = 0; at < piece.length; at += SLICE) {
        writer.write(piece.subarray(at, at + SLICE));
        if (await breath.take()) throwIfAborted(signal);
      }
    }
    writer.finish();
    return { job: "lay", size: writer.size, hasRoot: writer.hasRoot };
  } catch (error) {
    writer.empty();
    throw error;
  } finally {
    writer.close();
  }
}

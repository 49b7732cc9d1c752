import { Breath } from "../base/breath.ts";
import { readTar } from "../oci/tar/reader.ts";
import { type TarOutput, writeTar } from "../oci/tar/writer.ts";

/** A layer's tar in which no file is younger than `latest`, in Unix seconds; all else stays as it is. */
export function clampTimes(tar: AsyncIterable<Uint8Array>, latest: number): AsyncGenerator<Buffer> {
  return writeTar(clamped(tar, latest));
}

async function* clamped(tar: AsyncIterable<Uint8Array>, latest: number): AsyncGenerator<TarOutput> {
  const breath = new Breath();
  for await (const { entry, body } of readTar(tar)) {
    await breath.take();
    // The holes of a sparse file come as zeros: it is written whole, since the map would be of other bytes.
    const { sparse: _, ...whole } = entry;
    const { seconds, nanoseconds } = entry.mtime;
    const isYounger = seconds > latest || (seconds === latest && nanoseconds > 0);
    yield {
      entry: isYounger ? { ...whole, mtime: { seconds: latest, nanoseconds: 0 } } : whole,
      ...(entry.type === "file" && entry.size > 0 && { body }),
    };
  }
}

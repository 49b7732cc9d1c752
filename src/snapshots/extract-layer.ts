import { closeSync, constants, openSync } from "node:fs";
import type { Readable } from "node:stream";
import { cancelOnAbort, throwIfAborted } from "../base/abort.ts";
import { Breath } from "../base/breath.ts";
import { TarParser } from "../oci/tar/parser.ts";
import { Extractor, type Whiteouts } from "./extractor.ts";
import type { ApplyOptions } from "./snapshotter.ts";

const SLICE = 1 << 16;

/** Extracts a layer into the folder `root`, giving the event loop its turns. Resolves with the bytes of its files. */
export async function extractLayer(
  root: string,
  layer: Readable,
  whiteouts: Whiteouts,
  { signal, onProgress }: ApplyOptions,
): Promise<number> {
  const fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  const extractor = new Extractor(fd, whiteouts);
  const parser = new TarParser(extractor);
  const breath = new Breath();
  using _ = cancelOnAbort(signal, layer);
  let read = 0;
  try {
    throwIfAborted(signal);
    for await (const chunk of layer as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += SLICE) {
        parser.push(chunk.subarray(at, at + SLICE));
        await breath.take();
        throwIfAborted(signal);
      }
      read += chunk.length;
      onProgress?.(read);
    }
    parser.finish();
    extractor.finish();
    return extractor.size;
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  } finally {
    layer.destroy();
    extractor.close();
    closeSync(fd);
  }
}

import { createReadStream } from "node:fs";
import { GantryError } from "../../base/errors.ts";

/** A piece of a document: its bytes, or a file that has them, where there are too many for the memory. */
export type Part = Uint8Array | { readonly file: string; readonly size: number };

/** How long the document is. */
export function sizeOf(parts: readonly Part[]): number {
  return parts.reduce((sum, part) => sum + (part instanceof Uint8Array ? part.length : part.size), 0);
}

/** The document from its beginning. */
export async function* bytesOf(parts: readonly Part[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Uint8Array) yield part;
    else yield* createReadStream(part.file) as AsyncIterable<Buffer>;
  }
}

/** A document that is none of those that may be long. */
export function wholeOf(parts: readonly Part[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => {
      if (part instanceof Uint8Array) return part;
      throw new GantryError("internal", "a document that goes into an image is in a file");
    }),
  );
}

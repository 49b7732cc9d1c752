import { createGunzip, createZstdDecompress } from "node:zlib";
import { GantryError } from "../../base/errors.ts";

export type Packing = "gzip" | "zstd";

/** The first `wanted` bytes of what is compressed here; fewer are an error. What follows them is not looked at. */
export function inflate(packed: Uint8Array, packing: Packing, wanted: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const decoder = packing === "gzip" ? createGunzip() : createZstdDecompress();
  const parts: Buffer[] = [];
  let length = 0;
  decoder.on("data", (part: Buffer) => {
    parts.push(part);
    length += part.length;
    if (length < wanted) return;
    resolve(Buffer.concat(parts).subarray(0, wanted));
    decoder.destroy();
  });
  const short = (): void => reject(new GantryError("invalid", `${length} bytes came where ${wanted} were told`));
  decoder.on("error", (error) => reject(error));
  decoder.on("end", short);
  decoder.end(packed);
  return promise;
}

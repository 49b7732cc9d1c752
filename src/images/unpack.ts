import { randomBytes } from "node:crypto";
import { PassThrough } from "node:stream";
import { drained } from "../base/drained.ts";
import { Digester } from "../oci/digest.ts";
import type { ClaimScope } from "./claims.ts";
import type { ImageContext } from "./ports.ts";

const BUFFERED = 1 << 20;

/** An extracted layer that has no name yet: its taker commits or removes the key. */
export interface Unpacked<T> {
  readonly key: string;
  /** Bytes of the files. */
  readonly size: number;
  readonly result: T;
}

/**
 * Reads an uncompressed layer once: it is extracted over `parent` while `consume` gets the same bytes, to the stream's
 * very end. Rejects with what went wrong first, leaving no key.
 */
export async function unpackWhile<T>(
  context: Pick<ImageContext, "snapshots">,
  parent: string | undefined,
  source: AsyncIterable<Uint8Array>,
  consume: (bytes: AsyncIterable<Uint8Array>) => Promise<T>,
  signal?: AbortSignal,
): Promise<Unpacked<T>> {
  const { snapshots } = context;
  const key = `unpack-${randomBytes(12).toString("hex")}`;
  await snapshots.prepare(key, parent, { bare: true });
  const copy = new PassThrough({ highWaterMark: BUFFERED });
  // Whoever reads the copy hears of its errors; unheard they would end the process.
  copy.on("error", () => {});
  let failure: unknown;
  const extraction = snapshots.extract(key, copy, { ...(signal !== undefined && { signal }) }).catch((error) => {
    failure = error;
    copy.destroy();
    throw error;
  });
  const consumption = consume(tee(source, copy, () => failure)).catch((error) => {
    // It may not have begun to read, and nothing else would end the copy then.
    copy.destroy(new Error("the layer's stream has ended early"));
    throw error;
  });
  const [extracted, consumed] = await Promise.allSettled([extraction, consumption]);
  if (consumed.status === "fulfilled" && extracted.status === "fulfilled") {
    return { key, size: extracted.value.size, result: consumed.value };
  }
  await snapshots.remove(key);
  throw consumed.status === "rejected" ? consumed.reason : (extracted as PromiseRejectedResult).reason;
}

/** The digest and length of all the bytes. */
export async function digestOf(bytes: AsyncIterable<Uint8Array>): Promise<{ digest: string; size: number }> {
  const digester = new Digester();
  for await (const chunk of bytes) digester.update(chunk);
  return { digest: digester.digest(), size: digester.size };
}

/**
 * Makes sure of a snapshot: commits the extracted key under its name, or removes the key if the name is there.
 * Resolves with the bytes of the layer's files.
 */
export async function commitLayer(
  context: ImageContext,
  scope: ClaimScope,
  chainId: string,
  unpacked: Unpacked<unknown>,
): Promise<number> {
  const { claims, snapshots } = context;
  scope.claimChain(chainId);
  await claims.exclusively(chainId, async () => {
    if (snapshots.has(chainId)) await snapshots.remove(unpacked.key);
    else await snapshots.commit(chainId, unpacked.key);
  });
  return unpacked.size;
}

async function* tee(
  source: AsyncIterable<Uint8Array>,
  copy: PassThrough,
  failure: () => unknown,
): AsyncGenerator<Uint8Array> {
  let isWhole = false;
  try {
    for await (const chunk of source) {
      // Nobody reads it any longer after a tar's end mark: the rest is padding.
      if (!copy.destroyed && !copy.write(chunk)) await drained(copy);
      if (failure() !== undefined) throw failure();
      yield chunk;
    }
    isWhole = true;
    copy.end();
  } finally {
    if (!isWhole) copy.destroy(new Error("the layer's stream has ended early"));
  }
}

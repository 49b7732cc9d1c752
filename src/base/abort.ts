import type { Readable } from "node:stream";
import { GantryError } from "./errors.ts";

/** The error of what was given up at its caller's wish; the words are those that Docker's clients know. */
export function cancelled(): GantryError {
  return new GantryError("cancelled", "context canceled");
}

/** Throws `cancelled` if the signal has come. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw cancelled();
}

/** Destroys a stream with `cancelled` when the signal comes, or at once if it has; disposal ends the watch. */
export function cancelOnAbort(signal: AbortSignal | undefined, stream: Readable): Disposable {
  // Its reader is told by reading; an error event that nobody hears would end the process.
  stream.on("error", () => {});
  const stop = (): void => void stream.destroy(cancelled());
  if (signal?.aborted === true) stop();
  signal?.addEventListener("abort", stop, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener("abort", stop) };
}

/** Waits for what goes on for others too: an abort ends this wait alone. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(cancelled());
  // Heard also where nobody waits any more.
  aborted.catch(() => {});
  promise.catch(() => {});
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

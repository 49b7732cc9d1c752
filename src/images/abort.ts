import type { Readable } from "node:stream";
import { GantryError } from "../base/errors.ts";

/** Destroys a stream with `cancelled` when the signal comes, or at once if it has; disposal ends the watch. */
export function cancelOnAbort(signal: AbortSignal | undefined, stream: Readable): Disposable {
  // Its reader is told by reading; an error event that nobody hears would end the process.
  stream.on("error", () => {});
  const stop = (): void => void stream.destroy(new GantryError("cancelled", "context canceled"));
  if (signal?.aborted === true) stop();
  signal?.addEventListener("abort", stop, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener("abort", stop) };
}

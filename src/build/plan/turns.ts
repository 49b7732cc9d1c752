import { Breath } from "../../base/breath.ts";

/** What a generator returns in the end; others get their turn while it goes on. Rejects after an abort. */
export async function inTurns<T>(steps: Generator<void, T>, signal: AbortSignal): Promise<T> {
  const breath = new Breath();
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    if (!breath.isDue) continue;
    await breath.take();
    signal.throwIfAborted();
  }
}

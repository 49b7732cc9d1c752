import { setTimeout as after } from "node:timers/promises";
import { cancelled } from "./abort.ts";

/** Waits so long; throws `cancelled` when the signal comes. */
export async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await after(milliseconds, undefined, signal === undefined ? {} : { signal });
  } catch {
    throw cancelled();
  }
}

import type { Store } from "../state/store.ts";

/**
 * Writes records that may be lost. False where they can't be written, be the disk full or for reading only: that fails
 * nothing of what they only make faster.
 */
export function writeHints(store: Store, act: () => void): boolean {
  try {
    store.relaxed(act);
    return true;
  } catch {
    return false;
  }
}

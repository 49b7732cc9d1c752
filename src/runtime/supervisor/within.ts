import { GantryError } from "../../base/errors.ts";

/** Waits for `promise`, but no longer than `limitMs`: then `unavailable` with this message. */
export async function within<T>(promise: Promise<T>, limitMs: number, message: string): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new GantryError("unavailable", message)), limitMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

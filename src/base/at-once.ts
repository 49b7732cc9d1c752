import { allOrFirst } from "./all-or-first.ts";

/**
 * Acts on all of them in their order, so many at a time. After a failure nothing more is begun; it is thrown when those
 * that were begun have ended.
 */
export async function atOnce<T>(places: number, all: Iterable<T>, act: (one: T) => Promise<unknown>): Promise<void> {
  const queue = all[Symbol.iterator]();
  let hasFailed = false;
  const work = async (): Promise<void> => {
    for (let next = queue.next(); !hasFailed && next.done !== true; next = queue.next()) {
      try {
        await act(next.value);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  await allOrFirst(Array.from({ length: places }, work));
}

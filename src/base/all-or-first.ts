/** As `Promise.all`, but a rejection comes when all have ended: nothing goes on behind the failure. It is the first in order. */
export async function allOrFirst<T>(tasks: readonly Promise<T>[]): Promise<T[]> {
  for (const one of await Promise.allSettled(tasks)) if (one.status === "rejected") throw one.reason;
  return Promise.all(tasks);
}

/**
 * Runs `act` for all at once, and waits for all of them: the first failure ends the others by their signal, and is
 * thrown when they have ended.
 */
export async function all<T>(
  outer: AbortSignal,
  items: readonly T[],
  act: (item: T, signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);
  let first: { readonly error: unknown } | undefined;
  await Promise.all(
    items.map((item) =>
      act(item, signal).catch((error: unknown) => {
        first ??= { error };
        failed.abort();
      }),
    ),
  );
  if (first !== undefined) throw first.error;
}

import { GrpcError, LONGEST_MS, STATUS } from "./status.ts";

/**
 * Has a call fail once its caller aborts or its time is over; a time that is longer than a timer can be is none. What
 * comes back ends that.
 */
export function untilGivenUp(
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  fail: (error: GrpcError) => void,
): () => void {
  const abort = () => fail(new GrpcError(STATUS.cancelled, "context canceled", { cause: signal?.reason }));
  const late = () => fail(new GrpcError(STATUS.deadlineExceeded, "context deadline exceeded"));
  signal?.addEventListener("abort", abort, { once: true });
  const timer = timeoutMs === undefined || timeoutMs > LONGEST_MS ? undefined : setTimeout(late, timeoutMs);
  return () => {
    signal?.removeEventListener("abort", abort);
    clearTimeout(timer);
  };
}

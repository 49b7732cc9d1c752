import { check, libc } from "./libc.ts";

const CLOCK_REALTIME = 0;
const cClockGettime = libc("int clock_gettime(int clock, void *time)");
const time = new BigInt64Array(2);

/** Unix time in nanoseconds. */
export function realtimeNano(): bigint {
  check("clock_gettime", cClockGettime(CLOCK_REALTIME, time));
  return time[0]! * 1_000_000_000n + time[1]!;
}

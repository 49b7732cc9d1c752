import { check, libc } from "./libc.ts";

const CLOCK_REALTIME = 0;
const cClockGettime = libc("int clock_gettime(int clock, void *time)");
const time = new BigInt64Array(2);

const cAdjtimex = libc("int adjtimex(void *buffer)");
const TIME_ERROR = 5;
/** struct timex of 64-bit machines. */
const timex = Buffer.alloc(208);
const MAX_ERROR_AT = 24;

/** Whether somebody keeps the kernel's clock right, and how far off it may be by his word (adjtimex(2)). */
export function clockSynchronization(): { readonly isSynced: boolean; readonly maxErrorMs: number } {
  timex.fill(0);
  const state = check("adjtimex", cAdjtimex(timex));
  return { isSynced: state !== TIME_ERROR, maxErrorMs: Number(timex.readBigInt64LE(MAX_ERROR_AT)) / 1000 };
}

/** Unix time in nanoseconds. */
export function realtimeNano(): bigint {
  check("clock_gettime", cClockGettime(CLOCK_REALTIME, time));
  return time[0]! * 1_000_000_000n + time[1]!;
}

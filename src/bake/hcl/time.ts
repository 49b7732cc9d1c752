import { objectOf, ValueError, type ValueObject } from "./value.ts";

const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");
const two = (number: number): string => String(number).padStart(2, "0");

/** A time in UTC by HCL's pattern: `YYYY-MM-DD'T'hh:mm:ssZ`. */
export function formatTime(pattern: string, time: Date): string {
  return pattern.replace(/'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+/g, (run, quoted: string | undefined) => {
    if (quoted !== undefined) return quoted === "" ? "'" : quoted.replaceAll("''", "'");
    if (!/[A-Za-z]/.test(run)) return run;
    const write = FIELDS[run];
    if (write === undefined) throw new ValueError(`invalid verb ${JSON.stringify(run)} in the time's format`);
    return write(time);
  });
}

const hour12 = (time: Date): number => time.getUTCHours() % 12 || 12;

const FIELDS: Readonly<Record<string, (time: Date) => string>> = {
  YYYY: (time) => String(time.getUTCFullYear()).padStart(4, "0"),
  YY: (time) => two(time.getUTCFullYear() % 100),
  MMMM: (time) => MONTHS[time.getUTCMonth()]!,
  MMM: (time) => MONTHS[time.getUTCMonth()]!.slice(0, 3),
  MM: (time) => two(time.getUTCMonth() + 1),
  M: (time) => String(time.getUTCMonth() + 1),
  DD: (time) => two(time.getUTCDate()),
  D: (time) => String(time.getUTCDate()),
  EEEE: (time) => DAYS[time.getUTCDay()]!,
  EEE: (time) => DAYS[time.getUTCDay()]!.slice(0, 3),
  hh: (time) => two(time.getUTCHours()),
  h: (time) => String(time.getUTCHours()),
  HH: (time) => two(hour12(time)),
  H: (time) => String(hour12(time)),
  AA: (time) => (time.getUTCHours() < 12 ? "AM" : "PM"),
  aa: (time) => (time.getUTCHours() < 12 ? "am" : "pm"),
  mm: (time) => two(time.getUTCMinutes()),
  m: (time) => String(time.getUTCMinutes()),
  ss: (time) => two(time.getUTCSeconds()),
  s: (time) => String(time.getUTCSeconds()),
  ZZZZZ: () => "+00:00",
  ZZZZ: () => "+0000",
  ZZZ: () => "UTC",
  Z: () => "Z",
};

/** A time's parts, as `unixtimestampparse` names them. */
export function timeParts(time: Date): ValueObject {
  const [iso_year, iso_week] = isoWeek(time);
  const startOfYear = Date.UTC(time.getUTCFullYear(), 0, 1);
  return objectOf(
    Object.entries({
      year: time.getUTCFullYear(),
      year_day: Math.floor((time.getTime() - startOfYear) / DAY_MS) + 1,
      day: time.getUTCDate(),
      month: time.getUTCMonth() + 1,
      month_name: MONTHS[time.getUTCMonth()]!,
      weekday: time.getUTCDay(),
      weekday_name: DAYS[time.getUTCDay()]!,
      hour: time.getUTCHours(),
      minute: time.getUTCMinutes(),
      second: time.getUTCSeconds(),
      rfc3339: `${time.toISOString().slice(0, 19)}Z`,
      iso_year,
      iso_week,
    }),
  );
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** A week belongs to the year that has its Thursday. */
function isoWeek(time: Date): [year: number, week: number] {
  const thursday = new Date(time.getTime() + (4 - (time.getUTCDay() || 7)) * DAY_MS);
  const start = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  return [thursday.getUTCFullYear(), Math.floor((thursday.getTime() - start) / DAY_MS / 7) + 1];
}

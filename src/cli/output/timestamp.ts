import { parseDuration } from "../flags/duration.ts";

/** A `--since` or `--until` as the API takes it: seconds, with nanoseconds if given; a duration counts back from now. */
export function timestampQuery(text: string): string {
  if (text === "" || /^-?\d+(\.\d+)?$/.test(text)) return text;
  try {
    return String(Math.floor(Date.now() / 1000 - parseDuration(text) / 1e9));
  } catch {
    // Not a duration: a date.
  }
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  if (match === null)
    throw new Error(`invalid value for ${JSON.stringify(text)}: failed to parse value as time or duration`);
  const [, day = "", clock = "00:00:00", fraction = "", zone = ""] = match;
  const time = `${clock}${":00".repeat(3 - clock.split(":").length)}`;
  const milliseconds = Date.parse(`${day}T${time}${zone}`);
  if (Number.isNaN(milliseconds))
    throw new Error(`invalid value for ${JSON.stringify(text)}: failed to parse value as time or duration`);
  return `${Math.floor(milliseconds / 1000)}.${fraction.padEnd(9, "0")}`;
}

import { parseDuration } from "../../base/duration.ts";

/** A `--since` or `--until` (`flag`, if complaints name it) as the API takes it: seconds, with nanoseconds if given; a duration counts back from now. */
export function timestampQuery(flag: string | undefined, text: string): string {
  if (text === "" || /^\d+(\.\d+)?$/.test(text)) return text;
  try {
    return String(Math.floor(Date.now() / 1000 - parseDuration(text) / 1e9));
  } catch {
    // Not a duration: a date.
  }
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  const where = flag === undefined ? "" : `invalid value for "${flag}": `;
  const invalid = () => new Error(`${where}failed to parse value as time or duration: ${JSON.stringify(text)}`);
  if (match === null) throw invalid();
  const [, day = "", clock = "00:00:00", fraction = "", zone = ""] = match;
  const time = `${clock}${":00".repeat(3 - clock.split(":").length)}`;
  const milliseconds = Date.parse(`${day}T${time}${zone}`);
  if (Number.isNaN(milliseconds)) throw invalid();
  return `${Math.floor(milliseconds / 1000)}.${fraction.padEnd(9, "0")}`;
}

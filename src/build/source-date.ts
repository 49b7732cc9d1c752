import { GantryError } from "../base/errors.ts";

/** The last second that a date of four digits can have. */
const LATEST = 253_402_300_799;

/**
 * SOURCE_DATE_EPOCH as a build argument: seconds since 1970, with leading zeros or a plus if one likes; undefined if it
 * is empty. Throws `invalid`.
 */
export function readSourceDate(text: string): number | undefined {
  if (text === "") return undefined;
  const seconds = /^\+?\d{1,20}$/.test(text) ? Number(text) : Number.NaN;
  if (!(seconds <= LATEST)) throw new GantryError("invalid", `invalid SOURCE_DATE_EPOCH: ${text}`);
  return seconds;
}

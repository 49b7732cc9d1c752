import { GantryError } from "./errors.ts";

/** Far more than any machine has, and read in some milliseconds. */
const MOST_ROWS = 65_536;
/** passwd(5) has seven. */
const FIELDS = 7;

/**
 * The rows of an image's `/etc/passwd` or `/etc/group`, split at their colons, as they are asked for. Whoever made the
 * image may have written anything there: a file of millions of rows is refused. `path` names it then.
 */
export function* userRows(text: string, path: string): Generator<string[]> {
  let count = 0;
  for (let at = 0; at < text.length; ) {
    const found = text.indexOf("\n", at);
    const end = found < 0 ? text.length : found;
    const row = text.slice(at, end).trim();
    at = end + 1;
    if (++count > MOST_ROWS)
      throw new GantryError("invalid", `cannot read ${path}: it has more than ${MOST_ROWS} rows`);
    if (row !== "" && !row.startsWith("#")) yield row.split(":", FIELDS);
  }
}

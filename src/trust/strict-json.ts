/** How deep a document may be nested. */
const MOST_DEPTH = 64;

/**
 * Parses JSON of which nothing may be read in two ways: UTF-8 only, and no key twice in one object, of which one reader
 * takes the first and another the last. Throws a plain Error whose message is the reason.
 */
export function readStrictJson(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error("it is not UTF-8");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  refuseRepeatedKeys(text);
  return value;
}

/** The text is JSON already, so that its strings and brackets are all there is to see. */
function refuseRepeatedKeys(text: string): void {
  /** The keys so far of each open object; undefined for an open list. */
  const open: (Set<string> | undefined)[] = [];
  for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (string === undefined) open.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(string) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) throw new Error(`it has the key ${JSON.stringify(key.slice(0, 100))} twice`);
      keys?.add(key);
    }
    if (open.length > MOST_DEPTH) throw new Error("it is nested too deeply");
  }
}

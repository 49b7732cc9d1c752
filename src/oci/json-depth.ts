const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * How deep a JSON text nests, or `limit` as soon as it is that deep. Parsers take a second for four megabytes of
 * brackets; this takes a nanosecond a byte.
 */
export function jsonDepth(bytes: Uint8Array, limit: number): number {
  const { length } = bytes;
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < length; at++) {
    let byte = bytes[at]!;
    if (byte === QUOTE) {
      for (at++; at < length; at++) {
        byte = bytes[at]!;
        if (byte === QUOTE) break;
        if (byte === BACKSLASH) at++;
      }
      // "[" and "{", then their ends, differ in one bit.
    } else if ((byte | 0x20) === 0x7b) {
      if (++depth > deepest) deepest = depth;
      if (deepest >= limit) return limit;
    } else if ((byte | 0x20) === 0x7d) depth--;
  }
  return deepest;
}

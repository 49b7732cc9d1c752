const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;

/** What a JSON text may have at most. */
export interface JsonBounds {
  readonly depth: number;
  /** In one object. */
  readonly members: number;
  /** In all: of objects and arrays. */
  readonly values: number;
}

/**
 * Which bound a JSON text goes beyond, as "it is nested more than 100 deep"; undefined if none. Parsers hold a thread
 * for seconds over a few megabytes of brackets, numbers or names; this takes a nanosecond a byte.
 */
export function excessOf(bytes: Uint8Array, bounds: JsonBounds): string | undefined {
  const { length } = bytes;
  const members = new Uint32Array(bounds.depth + 1);
  let depth = 0;
  let values = 0;
  for (let at = 0; at < length; at++) {
    let byte = bytes[at]!;
    if (byte === QUOTE) {
      for (at++; at < length; at++) {
        byte = bytes[at]!;
        if (byte === QUOTE) break;
        if (byte === BACKSLASH) at++;
      }
    } else if (byte === COMMA) {
      if (++values >= bounds.values) return `it has more than ${bounds.values} values`;
    } else if (byte === COLON) {
      if (++members[depth]! > bounds.members) return `an object in it has more than ${bounds.members} members`;
      // "[" and "{", then their ends, differ in one bit.
    } else if ((byte | 0x20) === 0x7b) {
      if (depth === bounds.depth) return `it is nested more than ${bounds.depth} deep`;
      members[++depth] = 0;
      if (++values >= bounds.values) return `it has more than ${bounds.values} values`;
    } else if ((byte | 0x20) === 0x7d && depth > 0) depth--;
  }
  return undefined;
}

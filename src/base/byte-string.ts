/**
 * Names on Linux are bytes, not text. Here they are strings all the same: bytes that are no UTF-8 become lone
 * surrogates U+DC80 … U+DCFF (Python's "surrogateescape"), so that every name survives a round trip unchanged and
 * ordinary ones read as they should.
 */
export function bytesToName(bytes: Buffer, start = 0, end = bytes.length): string {
  const text = bytes.toString("utf8", start, end);
  if (!text.includes("\ufffd")) return text;
  return escapeInvalid(bytes.subarray(start, end));
}

/** The bytes of a name made by `bytesToName` (or of any string: those without lone surrogates are plain UTF-8). */
export function nameToBytes(name: string): Buffer {
  if (name.isWellFormed()) return Buffer.from(name);
  const out: Buffer[] = [];
  let from = 0;
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at);
    if (unit >= 0xd800 && unit <= 0xdbff && isLow(name.charCodeAt(at + 1))) {
      at++;
      continue;
    }
    if (unit < 0xdc80 || unit > 0xdcff) continue;
    out.push(Buffer.from(name.slice(from, at)), Buffer.of(unit - 0xdc00));
    from = at + 1;
  }
  out.push(Buffer.from(name.slice(from)));
  return Buffer.concat(out);
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

function escapeInvalid(bytes: Buffer): string {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) text += String.fromCharCode(0xdc00 + bytes[at++]!);
    else {
      text += bytes.toString("utf8", at, at + length);
      at += length;
    }
  }
  return text;
}

/** Bytes of the well-formed UTF-8 sequence at `at` (Unicode 15, table 3-7), 0 if there is none. */
function sequenceLength(bytes: Buffer, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  const length =
    lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  const second = bytes[at + 1]!;
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let next = 2; next < length; next++) if ((bytes[at + next]! & 0xc0) !== 0x80) return 0;
  return length;
}

import { invalid } from "./source.ts";

/** The fields of one line of comma-separated values (RFC 4180): `a,"b,c",d`. Throws `invalid` for stray quotes. */
export function csvFields(text: string): string[] {
  const fields: string[] = [];
  for (let at = 0; ; ) {
    const field = text[at] === '"' ? quoted(text, at) : plain(text, at);
    fields.push(field.value);
    if (field.end >= text.length) return fields;
    at = field.end + 1;
  }
}

function plain(text: string, from: number): { value: string; end: number } {
  const comma = text.indexOf(",", from);
  const end = comma < 0 ? text.length : comma;
  const value = text.slice(from, end);
  const bare = value.indexOf('"');
  if (bare >= 0) throw invalid(`parse error on line 1, column ${from + bare + 1}: bare " in non-quoted field`);
  return { value, end };
}

function quoted(text: string, from: number): { value: string; end: number } {
  let value = "";
  for (let at = from + 1; ; ) {
    const end = text.indexOf('"', at);
    if (end < 0) throw stray(text.length);
    value += text.slice(at, end);
    if (text[end + 1] !== '"') {
      if (end + 1 < text.length && text[end + 1] !== ",") throw stray(end + 1);
      return { value, end: end + 1 };
    }
    value += '"';
    at = end + 2;
  }
}

function stray(at: number): Error {
  return invalid(`parse error on line 1, column ${at + 1}: extraneous or missing " in quoted-field`);
}

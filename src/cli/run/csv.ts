/** The fields of one line of comma-separated values, with Go's rules for quotes. */
export function csvFields(line: string): readonly string[] {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (line[at] === '"') {
      let value = "";
      at++;
      for (;;) {
        const quote = line.indexOf('"', at);
        if (quote === -1)
          throw new Error(`parse error on line 1, column ${line.length + 1}: extraneous or missing " in quoted-field`);
        value += line.slice(at, quote);
        at = quote + 1;
        if (line[at] !== '"') break;
        value += '"';
        at++;
      }
      if (at < line.length && line[at] !== ",") {
        throw new Error(`parse error on line 1, column ${at + 1}: extraneous or missing " in quoted-field`);
      }
      fields.push(value);
    } else {
      const comma = line.indexOf(",", at);
      const value = line.slice(at, comma === -1 ? undefined : comma);
      const quote = value.indexOf('"');
      if (quote !== -1) throw new Error(`parse error on line 1, column ${at + quote + 1}: bare " in non-quoted-field`);
      fields.push(value);
      at += value.length;
    }
    if (at >= line.length) return fields;
    at++;
  }
}

/** Cuts at the first separator; the second part is undefined without one. */
export function cutAt(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

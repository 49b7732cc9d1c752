/** JSON laid out with `unit` a level, each number and key exactly as the engine wrote it. */
export function indentJson(text: string, unit: string, level = 0): string {
  let out = "";
  let depth = level;
  let at = 0;
  const line = (): string => `\n${unit.repeat(depth)}`;
  while (at < text.length) {
    const char = text[at] ?? "";
    if (char === '"') {
      const end = closingQuote(text, at);
      out += text.slice(at, end + 1);
      at = end + 1;
      continue;
    }
    at++;
    if (/\s/.test(char)) continue;
    if (char === "{" || char === "[") {
      const close = /^\s*[}\]]/.exec(text.slice(at, at + 64));
      if (close !== null) {
        out += char + (char === "{" ? "}" : "]");
        at += close[0].length;
      } else {
        depth++;
        out += char + line();
      }
    } else if (char === "}" || char === "]") {
      depth--;
      out += line() + char;
    } else if (char === ",") out += char + line();
    else if (char === ":") out += ": ";
    else out += char;
  }
  return out;
}

function closingQuote(text: string, open: number): number {
  let at = open + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}

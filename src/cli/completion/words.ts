/** The words of a line as far as it is typed, by the shell's quotes; the last is the one being typed, perhaps empty. */
export function wordsOf(line: string): readonly string[] {
  const words: string[] = [];
  let word = "";
  let begun = false;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const char = line[at] ?? "";
    if (quote !== "") {
      if (char === quote) quote = "";
      else if (quote === '"' && char === "\\" && /["\\$`]/.test(line[at + 1] ?? "")) word += line[++at] ?? "";
      else word += char;
    } else if (char === "'" || char === '"') {
      quote = char;
      begun = true;
    } else if (char === "\\") {
      word += line[++at] ?? "";
      begun = true;
    } else if (/\s/.test(char)) {
      if (begun) words.push(word);
      word = "";
      begun = false;
    } else {
      word += char;
      begun = true;
    }
  }
  return [...words, word];
}

/** JSON as Go's encoder writes it unless told otherwise: what HTML would take for its own is escaped. */
export function escapedJson(value: unknown, spaces = 0): string {
  return escaped(JSON.stringify(value, null, spaces));
}

/** JSON text without white space, each number and key as it was, escaped as Go's encoder does it. */
export function compactJson(text: string): string {
  const pieces = text.matchAll(/"(?:[^"\\]|\\.)*"|[^"\s]+/gs);
  return escaped([...pieces].map(([piece]) => piece).join(""));
}

/** Only in strings can these be. */
function escaped(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

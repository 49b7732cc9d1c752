/** JSON as Go's encoder writes it unless told otherwise: what HTML would take for its own is escaped. */
export function escapedJson(value: unknown): string {
  // Only in strings can these be.
  const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, escaped);
}

/** A text with its addresses as they may be shown and kept: without user and password. */
export function withoutPassword(text: string): string {
  return text.replace(/(\w:\/\/)[^/@\s]*@/g, "$1xxxxx@");
}

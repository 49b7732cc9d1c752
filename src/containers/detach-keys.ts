import { GantryError } from "../base/errors.ts";

const DEFAULT = Uint8Array.of(16, 17);

/**
 * The bytes of a detach sequence as typed: `ctrl-p,ctrl-q`, single characters, or `ctrl-` with a letter or one of
 * `@ [ \ ] ^ _`. undefined is the default; empty turns detaching off.
 */
export function parseDetachKeys(text: string | undefined): Uint8Array {
  if (text === undefined || text === "") return DEFAULT;
  return Uint8Array.from(text.split(","), (key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const match = /^ctrl-([a-zA-Z@[\\\]^_])$/.exec(key);
    const letter = match?.[1]?.toLowerCase();
    if (letter === undefined) {
      throw new GantryError("invalid", `Invalid detach keys (${text}) provided: Unknown character: '${key}'`);
    }
    return letter >= "a" && letter <= "z"
      ? letter.charCodeAt(0) - 96
      : ({ "@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, _: 31 }[letter] ?? 0);
  });
}

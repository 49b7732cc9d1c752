import { GantryError } from "../base/errors.ts";

const MAX_LINE = 16 * 1024 * 1024;

/**
 * The JSON values of a stream, one after the other, as events, progress and statistics come. Values are told apart by
 * their newline, which every engine writes; a line longer than 16 MiB is an error. `parse` is for values with more than
 * JSON.parse understands.
 */
export async function* jsonLines<T>(
  body: AsyncIterable<Uint8Array>,
  parse: (text: string) => T = JSON.parse,
): AsyncGenerator<T> {
  const decoder = new TextDecoder();
  let held = "";
  for await (const chunk of body) {
    held += decoder.decode(chunk, { stream: true });
    const lines = held.split("\n");
    held = lines.pop() ?? "";
    if (held.length > MAX_LINE) throw new GantryError("invalid", "a line of the engine's answer is too long");
    for (const line of lines) if (line.trim() !== "") yield parse(line);
  }
  held += decoder.decode();
  if (held.trim() !== "") yield parse(held);
}

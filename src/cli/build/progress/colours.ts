import { csvFields } from "../../../base/csv.ts";

/** What a picture's lines look like: the numbers that a terminal is told. */
export interface Colours {
  readonly run: string;
  readonly cancel: string;
  readonly error: string;
  readonly warning: string;
}

export const DEFAULT_COLOURS: Colours = { run: "34", cancel: "33", error: "31", warning: "33" };

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/** BUILDKIT_COLORS: `run=blue:error=255,0,0`, or words that BuildKit's clients know. What is wrong in it has no effect. */
export function coloursOf(text: string): Colours {
  const rows: Record<string, string> = { ...DEFAULT_COLOURS };
  for (const part of text.split(":")) {
    const [key = "", value = ""] = part.toLowerCase().split(/=(.*)/s, 2);
    const code = codeOf(value);
    if (Object.hasOwn(rows, key) && code !== undefined) rows[key] = code;
  }
  return rows as unknown as Colours;
}

function codeOf(name: string): string | undefined {
  if (name === "default") return "39";
  const [, light, word = ""] = /^(light-)?(\w+)$/.exec(name) ?? [];
  const at = NAMES.indexOf(word);
  if (at >= 0) return String(at + (light === undefined ? 30 : 90));
  if (!/^[\d, ]+$/.test(name)) return undefined;
  const parts = csvFields(name).map(Number);
  return parts.length === 3 && parts.every((part) => part <= 255) ? `38;2;${parts.join(";")}` : undefined;
}

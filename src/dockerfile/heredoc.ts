import { expandWords } from "./words.ts";

/** A document within the file: `<<EOF` … `EOF`. */
export interface Heredoc {
  readonly name: string;
  /** Digits before `<<`; 0 if there are none. */
  readonly descriptor: number;
  /** No part of the name is quoted: variables in the text are put in. */
  readonly expand: boolean;
  /** `<<-`: tabs at the beginnings of lines don't count. */
  readonly chomp: boolean;
  /** The lines between, each with its end, as they are written. */
  readonly content: string;
}

const NOTHING: ReadonlyMap<string, string> = new Map();

/** The heredocs that an instruction's line opens, in order. */
export function heredocsOf(line: string): Heredoc[] {
  let words: readonly string[];
  try {
    words = expandWords(line, NOTHING, { keepQuotes: true, keepEscapes: true, keepUnset: true }).words;
  } catch {
    // A line that can't be split opens none; its own error is told by what reads its arguments.
    return [];
  }
  return words.map(heredocOf).filter((heredoc) => heredoc !== undefined);
}

/** What a word like `3<<-'EOF'` opens; undefined if it is no such word. Throws `invalid` for broken quotes. */
export function heredocOf(word: string): Heredoc | undefined {
  let at = 0;
  while (at < word.length && word[at]! >= "0" && word[at]! <= "9") at++;
  if (!word.startsWith("<<", at)) return undefined;
  const descriptor = Number(word.slice(0, at));
  at += 2;
  const chomp = word[at] === "-";
  if (chomp) at++;
  while (at < word.length && "\t\n\f\r ".includes(word[at]!)) at++;
  const rest = word.slice(at);
  if (rest === "" || rest.includes("<")) return undefined;
  const [name, ...more] = expandWords(rest, NOTHING, { keepUnset: true }).words;
  if (name === undefined || more.length > 0) return undefined;
  const [written = ""] = expandWords(rest, NOTHING, { keepUnset: true, keepQuotes: true }).words;
  return { name, descriptor, expand: quotesIn(name) === quotesIn(written), chomp, content: "" };
}

/** A heredoc's text without the tabs at the beginnings of its lines. */
export function withoutLeadingTabs(text: string): string {
  return text.replace(/^\t+/gm, "");
}

function quotesIn(text: string): number {
  let count = 0;
  for (const character of text) if (character === "'" || character === '"') count++;
  return count;
}

import { isSpace, trimLeftSpace, trimSpace } from "./go-text.ts";
import { invalid } from "./source.ts";

/** How the line of one instruction is taken apart. Nothing is expanded and no quote removed here. */

export interface Arguments {
  readonly args: readonly string[];
  readonly json: boolean;
}

export interface CommandLine {
  readonly name: string;
  readonly flags: readonly string[];
  readonly rest: string;
}

const BLANK = /[\t\v\f\r ]+/;
const NO_ARGUMENTS: Arguments = { args: [], json: false };

/** The instruction's name, the flags that follow it, and the rest. */
export function splitCommand(line: string, escaper: string): CommandLine {
  const [name, rest] = splitOnce(trimSpace(line));
  if (rest === undefined) return { name, flags: [], rest: "" };
  const { flags, end } = readFlags(rest, escaper);
  return { name, flags, rest: trimSpace(rest.slice(end)) };
}

/** `ARG`: words, quotes and all; none have to be a pair. */
export function nameOrPairs(rest: string, escaper: string): Arguments {
  return { args: quotedWords(rest, escaper), json: false };
}

/** `ENV` and `LABEL`: `name=value …`, or the old `name value`. Three arguments a pair. */
export function namedPairs(instruction: string, rest: string, escaper: string): Arguments {
  const words = quotedWords(rest, escaper);
  const [first] = words;
  if (first === undefined) return NO_ARGUMENTS;
  if (!first.includes("=")) {
    const [name, value] = splitOnce(rest);
    if (value === undefined) throw invalid(`${instruction} must have two arguments`);
    return { args: [name, value, ""], json: false };
  }
  const args: string[] = [];
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals < 0) {
      throw invalid(`Syntax error - can't find = in ${JSON.stringify(word)}. Must be of the form: name=value`);
    }
    args.push(word.slice(0, equals), word.slice(equals + 1), "=");
  }
  return { args, json: false };
}

/** `EXPOSE` and `FROM`: words between white space. */
export function blankSeparated(rest: string): Arguments {
  return rest === "" ? NO_ARGUMENTS : { args: rest.split(BLANK), json: false };
}

/** `USER`, `WORKDIR` and the like: all that is there. */
export function wholeLine(rest: string): Arguments {
  return rest === "" ? NO_ARGUMENTS : { args: [rest], json: false };
}

/** `RUN`, `CMD` and the like: a JSON array, or all that is there. */
export function jsonOrWhole(rest: string): Arguments {
  return jsonArray(rest) ?? wholeLine(rest);
}

/** `COPY`, `ADD`, `VOLUME`: a JSON array, or words between white space. */
export function jsonOrWords(rest: string): Arguments {
  return jsonArray(rest) ?? blankSeparated(rest);
}

/** `HEALTHCHECK`: a word, then what `CMD` takes. */
export function healthcheck(rest: string): Arguments {
  let end = 0;
  while (end < rest.length && !isSpace(rest[end]!)) end++;
  if (end === 0) return NO_ARGUMENTS;
  const { args, json } = jsonOrWhole(trimLeftSpace(rest.slice(end)));
  return { args: [rest.slice(0, end), ...args], json };
}

/** Undefined for what is no JSON array; an array of other things than strings is refused. */
function jsonArray(rest: string): Arguments | undefined {
  const text = trimLeftSpace(rest);
  if (!text.startsWith("[")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (Array.isArray(value) && value.every((word) => typeof word === "string")) return { args: value, json: true };
  throw invalid("when using JSON array syntax, arrays must be comprised of strings only");
}

function splitOnce(text: string): [first: string, rest: string | undefined] {
  const match = BLANK.exec(text);
  if (match === null) return [text, undefined];
  return [text.slice(0, match.index), text.slice(match.index + match[0].length)];
}

/** Words between white space that is neither quoted nor escaped; quotes and escapes stay in them. */
function quotedWords(text: string, escaper: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (quote === "" && isSpace(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    word ??= "";
    // Nothing is escaped between single quotes.
    if (character === escaper && quote !== "'") {
      // At the end it escapes nothing and is dropped.
      if (at + 1 === text.length) break;
      word += character + text[++at]!;
      continue;
    }
    if (quote === "" && (character === "'" || character === '"')) quote = character;
    else if (character === quote) quote = "";
    word += character;
  }
  if (word !== undefined && word !== "") words.push(word);
  return words;
}

/** Words that begin with `--`, without their quotes; `--` alone ends them. */
function readFlags(line: string, escaper: string): { flags: string[]; end: number } {
  const flags: string[] = [];
  let at = 0;
  for (;;) {
    while (at < line.length && isSpace(line[at]!)) at++;
    if (!line.startsWith("--", at)) return { flags, end: at };
    const { word, end } = readFlag(line, at, escaper);
    at = end;
    if (word === "--") return { flags, end: at };
    flags.push(word);
  }
}

function readFlag(line: string, from: number, escaper: string): { word: string; end: number } {
  let word = "";
  let quote = "";
  let at = from;
  for (; at < line.length; at++) {
    let character = line[at]!;
    if (quote === "" && isSpace(character)) break;
    if (quote === "" && (character === "'" || character === '"')) {
      quote = character;
      continue;
    }
    if (quote !== "" && character === quote) {
      quote = "";
      continue;
    }
    if (character === escaper) {
      if (at + 1 === line.length) continue;
      character = line[++at]!;
    }
    word += character;
  }
  return { word, end: at };
}

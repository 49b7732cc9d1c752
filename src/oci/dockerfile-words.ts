import { GantryError } from "../base/errors.ts";

/** How the arguments of one Dockerfile instruction are read: words, `name=value` pairs, JSON arrays, variables. */

export type Variables = ReadonlyMap<string, string>;

/** A JSON array of strings, or undefined for text in another form. An array of other things is refused. */
export function jsonWords(text: string): string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (Array.isArray(value) && value.every((word) => typeof word === "string")) return value as string[];
  throw new GantryError("invalid", "when using JSON array syntax, arrays must be comprised of strings only");
}

/** Words between white space, quotes and all. */
export function plainWords(text: string): string[] {
  return text.split(/[\t\v\f\r\n ]+/).filter((word) => word !== "");
}

/** Words between white space that is neither quoted nor escaped; quotes and escapes stay in the words. */
export function quotedWords(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? "";
    if (quote === "" && /\s/.test(character)) {
      if (word !== "") words.push(word);
      word = "";
      continue;
    }
    if (character === "\\") {
      // An escape with nothing after it escapes nothing and is dropped.
      if (at + 1 < text.length) word += character + text[++at];
      continue;
    }
    if (quote === "" && (character === '"' || character === "'")) quote = character;
    else if (character === quote) quote = "";
    word += character;
  }
  if (word !== "") words.push(word);
  return words;
}

/** The pairs of ENV and LABEL, in the form `name=value …` or the old `name value`; values as they are written. */
export function namedValues(instruction: string, text: string): [name: string, value: string][] {
  const words = quotedWords(text);
  const [first] = words;
  if (first === undefined) throw new GantryError("invalid", `${instruction} requires at least one argument`);
  if (!first.includes("=")) {
    const match = /^(\S+)\s+([\s\S]+)$/.exec(text.trim());
    if (match === null) throw new GantryError("invalid", `${instruction} must have two arguments`);
    return [[match[1] ?? "", match[2] ?? ""]];
  }
  return words.map((word) => {
    const equals = word.indexOf("=");
    if (equals < 0) {
      throw new GantryError(
        "invalid",
        `Syntax error - can't find = in ${JSON.stringify(word)}. Must be of the form: name=value`,
      );
    }
    if (equals === 0) throw new GantryError("invalid", `${instruction} names can not be blank`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

/** Removes quotes and escapes from a word and puts in `$name`, `${name}`, `${name:-other}` and `${name:+other}`. */
export function expand(text: string, variables: Variables): string {
  const scan = new Scan(text, variables);
  return scan.read("");
}

/** Like `expand`, then split at white space that came from outside of quotes. */
export function expandWords(text: string, variables: Variables): string[] {
  const scan = new Scan(text, variables);
  scan.read("");
  return scan.words();
}

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const SPECIAL = /[0-9@*#?!$-]/;
/** Nested defaults deeper than this are no person's. */
const MAX_DEPTH = 32;

class Scan {
  readonly #text: string;
  readonly #variables: Variables;
  readonly #words: string[] = [];
  #word: string | undefined;
  #at = 0;
  #depth = 0;

  constructor(text: string, variables: Variables) {
    this.#text = text;
    this.#variables = variables;
  }

  words(): string[] {
    return this.#word === undefined ? this.#words : [...this.#words, this.#word];
  }

  /** Reads up to `end` (left unread) or the text's end. */
  read(end: string): string {
    let result = "";
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at] ?? "";
      if (character === end) break;
      if (character === "'") result += this.#literal(this.#singleQuoted());
      else if (character === '"') result += this.#literal(this.#doubleQuoted());
      else if (character === "$") result += this.#loose(this.#variable());
      else result += this.#plain(character);
    }
    return result;
  }

  #plain(character: string): string {
    this.#at++;
    if (character !== "\\") return this.#loose(character);
    const escaped = this.#text[this.#at++];
    return this.#literal(escaped ?? "");
  }

  #literal(text: string): string {
    if (this.#depth === 0) this.#word = (this.#word ?? "") + text;
    return text;
  }

  #loose(text: string): string {
    if (this.#depth > 0) return text;
    for (const [index, part] of text.split(/\s+/).entries()) {
      if (index > 0 && this.#word !== undefined) {
        this.#words.push(this.#word);
        this.#word = undefined;
      }
      if (part !== "") this.#word = (this.#word ?? "") + part;
    }
    return text;
  }

  #singleQuoted(): string {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) throw syntaxError("unexpected end of statement while looking for matching single-quote");
    const text = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return text;
  }

  #doubleQuoted(): string {
    let result = "";
    this.#at++;
    for (;;) {
      const character = this.#text[this.#at];
      if (character === undefined) {
        throw syntaxError("unexpected end of statement while looking for matching double-quote");
      }
      if (character === '"') break;
      if (character === "$") {
        result += this.#variable();
        continue;
      }
      this.#at++;
      if (character !== "\\") {
        result += character;
        continue;
      }
      const escaped = this.#text[this.#at];
      if (escaped === undefined) continue;
      this.#at++;
      result += escaped === '"' || escaped === "$" || escaped === "\\" ? escaped : `\\${escaped}`;
    }
    this.#at++;
    return result;
  }

  #variable(): string {
    this.#at++;
    if (this.#text[this.#at] !== "{") {
      const name = this.#name();
      return name === "" ? "$" : (this.#variables.get(name) ?? "");
    }
    this.#at++;
    const name = this.#name();
    if (name === "") throw syntaxError("bad substitution");
    if (this.#text[this.#at] === "}") {
      this.#at++;
      return this.#variables.get(name) ?? "";
    }
    return this.#modified(name);
  }

  #modified(name: string): string {
    const colon = this.#text[this.#at] === ":";
    const modifier = this.#text[colon ? this.#at + 1 : this.#at] ?? "";
    if (!"+-?".includes(modifier) || modifier === "")
      throw syntaxError(`unsupported modifier (${modifier}) in substitution`);
    this.#at += colon ? 2 : 1;
    if (++this.#depth > MAX_DEPTH) throw syntaxError("substitutions are nested too deeply");
    const other = this.read("}");
    this.#depth--;
    if (this.#text[this.#at] !== "}") throw syntaxError("syntax error: missing '}'");
    this.#at++;
    const value = this.#variables.get(name);
    const isSet = value !== undefined && (!colon || value !== "");
    if (modifier === "+") return isSet ? other : "";
    if (isSet) return value;
    if (modifier === "-") return other;
    throw new GantryError("invalid", `${name}: ${other === "" ? "not allowed to be unset" : other}`);
  }

  #name(): string {
    NAME.lastIndex = this.#at;
    const name = NAME.exec(this.#text)?.[0] ?? (SPECIAL.test(this.#text[this.#at] ?? "") ? this.#text[this.#at] : "");
    this.#at += name?.length ?? 0;
    return name ?? "";
  }
}

function syntaxError(message: string): GantryError {
  return new GantryError("invalid", message);
}

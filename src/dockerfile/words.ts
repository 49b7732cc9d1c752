import { GantryError, messageOf } from "../base/errors.ts";
import { isSpace, quote } from "./go-text.ts";
import { replaced, withoutPrefix, withoutSuffix } from "./shell-pattern.ts";
import { invalid } from "./source.ts";

/** Quotes, escapes and variables of an instruction's arguments, as BuildKit's lexer has them. */

export interface Variables {
  get(name: string): string | undefined;
}

export interface WordOptions {
  /** What escapes; the `escape` directive sets it. */
  readonly escape?: string;
  /** Quotes stay in the result. */
  readonly keepQuotes?: boolean;
  readonly keepEscapes?: boolean;
  /** A quote is a character like any other. */
  readonly ignoreQuotes?: boolean;
  /** A variable that isn't set stays as it is written. */
  readonly keepUnset?: boolean;
}

export interface Expansion {
  readonly text: string;
  /** The text split at white space that is neither quoted nor escaped; of `expandWords` only. */
  readonly words: readonly string[];
  /** Names that were looked up and found. */
  readonly matched: ReadonlySet<string>;
  readonly unmatched: ReadonlySet<string>;
  /** Characters that had to be looked at. */
  readonly work: number;
}

/** A text into which variables can't be put. */
export class ExpansionError extends GantryError {
  /** As of an expansion, up to what is wrong. */
  readonly unmatched: ReadonlySet<string>;

  constructor(message: string, unmatched: ReadonlySet<string>, cause: GantryError) {
    super(cause.kind, message, { cause });
    this.name = "ExpansionError";
    this.unmatched = unmatched;
  }
}

/** Nested defaults deeper than this are no person's. */
const MAX_DEPTH = 32;
/** Characters that a text may grow to by its variables; each may be made of others twice. */
const MAX_LENGTH = 4 << 20;
/** Characters that are read, or put in, between two steps. */
const LONGEST_STEP = 32 << 10;
/** What a character costs that a pattern is held against, in characters that are only put in. */
const PATTERN_COST = 8;
/** Characters that mean only themselves, in quotes and outside of them. */
const RUN = /[^$<'"\\`}/]+/y;
const SPECIAL_PARAMETERS = "@*#?-$!0";
const LETTER = /^[\p{L}\p{Nd}_]$/u;
const DIGIT = /^\p{Nd}$/u;

/** Removes quotes and escapes and puts in variables. Errors name the text: `failed to process "…": …`. */
export function expandText(text: string, variables: Variables, options: WordOptions = {}): Expansion {
  return expand(text, variables, options, undefined);
}

/** The same of a text that may be long: yields now and then, so that others can have their turn. */
export function* expandTextInSteps(
  text: string,
  variables: Variables,
  options: WordOptions = {},
): Generator<void, Expansion> {
  const lexer = new Lexer(text, variables, options);
  try {
    return yield* lexer.expandInSteps();
  } catch (error) {
    throw failed(error, text, lexer);
  }
}

/** As `expandText`, split into words. */
export function expandWords(text: string, variables: Variables, options: WordOptions = {}): Expansion {
  return expand(text, variables, options, new WordSplitter());
}

function expand(
  text: string,
  variables: Variables,
  options: WordOptions,
  splitter: WordSplitter | undefined,
): Expansion {
  if (text.length < 256 && PLAIN.test(text)) {
    return { text, words: text === "" ? [] : [text], matched: NONE, unmatched: NONE, work: text.length };
  }
  const lexer = new Lexer(text, variables, options);
  try {
    return lexer.expand(splitter);
  } catch (error) {
    throw failed(error, text, lexer);
  }
}

function failed(error: unknown, text: string, { unmatched }: Lexer): unknown {
  if (!(error instanceof GantryError)) return error;
  const shown = text.length > 1000 ? `${text.slice(0, 1000)}…` : text;
  return new ExpansionError(`failed to process ${quote(shown)}: ${messageOf(error)}`, unmatched, error);
}

const NONE: ReadonlySet<string> = new Set();
/** ASCII that means only itself; most words are such. */
const PLAIN = /^[\w./:@,=+-]*$/;

class Lexer {
  readonly #text: string;
  readonly #variables: Variables;
  readonly #escape: string;
  readonly #options: WordOptions;
  readonly #matched = new Set<string>();
  readonly #unmatched = new Set<string>();
  #keepEscapes: boolean;
  #at = 0;
  #depth = 0;
  #work = 0;

  constructor(text: string, variables: Variables, options: WordOptions) {
    this.#text = text;
    this.#variables = variables;
    this.#options = options;
    this.#escape = options.escape ?? "\\";
    this.#keepEscapes = options.keepEscapes === true;
  }

  get unmatched(): ReadonlySet<string> {
    return this.#unmatched;
  }

  expand(words: WordSplitter | undefined): Expansion {
    return this.#expansion(this.#until(undefined, words), words?.end() ?? []);
  }

  *expandInSteps(): Generator<void, Expansion> {
    const done: string[] = [];
    let length = 0;
    // What is added up piece by piece is copied when it is read: each step joins its own, so that the last doesn't all.
    let parts: string[] = [];
    for (let from = 0, fresh = 0; this.#at < this.#text.length; ) {
      const part = this.#part(undefined);
      parts.push(part);
      fresh += part.length;
      if (length + fresh > MAX_LENGTH) throw tooLong();
      const isEnd = this.#at >= this.#text.length;
      if (!isEnd && this.#at - from < LONGEST_STEP && fresh < LONGEST_STEP) continue;
      done.push(parts.join(""));
      length += fresh;
      fresh = 0;
      parts = [];
      from = this.#at;
      yield;
    }
    return this.#expansion(done.join(""), []);
  }

  #expansion(text: string, words: readonly string[]): Expansion {
    const work = this.#work + Math.max(text.length, this.#text.length);
    return { text, words, matched: this.#matched, unmatched: this.#unmatched, work };
  }

  /** Reads up to `stop`, which is taken, or to the text's end. */
  #until(stop: string | undefined, words: WordSplitter | undefined): string {
    let result = "";
    while (this.#at < this.#text.length) {
      if (this.#text[this.#at] === stop) {
        this.#at++;
        return result;
      }
      result += this.#part(words);
      if (result.length > MAX_LENGTH) throw tooLong();
    }
    if (stop !== undefined) {
      throw invalid(`unexpected end of statement while looking for matching ${stop}`);
    }
    return result;
  }

  /** What the next quotes, variable, escape or run of characters come to. */
  #part(words: WordSplitter | undefined): string {
    const character = this.#text[this.#at]!;
    if (character === "$") {
      const value = this.#variable();
      words?.addLoose(value);
      return value;
    }
    if (character === "<" || (!this.#options.ignoreQuotes && (character === "'" || character === '"'))) {
      const part = character === "<" ? this.#angle() : character === "'" ? this.#single() : this.#double();
      words?.add(part);
      return part;
    }
    if (character !== this.#escape) {
      const run = this.#run();
      words?.addLoose(run);
      return run;
    }
    this.#at++;
    const escaped = this.#next() ?? "";
    const part = this.#keepEscapes ? character + escaped : escaped;
    words?.add(part);
    return part;
  }

  /** All up to the next character that may mean something else; one at least. */
  #run(): string {
    RUN.lastIndex = this.#at;
    const run = RUN.exec(this.#text)?.[0] ?? this.#text[this.#at]!;
    this.#at += run.length;
    return run;
  }

  /** The next whole character. */
  #next(): string | undefined {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) return undefined;
    const character = String.fromCodePoint(code);
    this.#at += character.length;
    return character;
  }

  #peek(): string | undefined {
    const code = this.#text.codePointAt(this.#at);
    return code === undefined ? undefined : String.fromCodePoint(code);
  }

  #single(): string {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) throw invalid("unexpected end of statement while looking for matching single-quote");
    const from = this.#options.keepQuotes ? this.#at : this.#at + 1;
    this.#at = end + 1;
    return this.#text.slice(from, this.#options.keepQuotes ? end + 1 : end);
  }

  #double(): string {
    let result = this.#options.keepQuotes ? '"' : "";
    this.#at++;
    for (;;) {
      const character = this.#text[this.#at];
      if (character === undefined) {
        throw invalid("unexpected end of statement while looking for matching double-quote");
      }
      if (character === "$") {
        result += this.#variable();
        continue;
      }
      if (character !== '"' && character !== this.#escape) {
        result += this.#run();
        continue;
      }
      this.#at++;
      if (character === '"') return this.#options.keepQuotes ? `${result}"` : result;
      if (this.#keepEscapes) result += character;
      const escaped = this.#text[this.#at];
      // An escape with nothing after it escapes nothing and is dropped.
      if (escaped === undefined) continue;
      if (escaped === '"' || escaped === "$" || escaped === this.#escape) {
        this.#at++;
        result += escaped;
      } else result += character;
    }
  }

  /** `<<`, with the white space before the word of a heredoc: it does not end the word. */
  #angle(): string {
    const from = this.#at++;
    if (this.#text[this.#at] !== "<") return "<";
    this.#at++;
    while (this.#at < this.#text.length && "\t\r ".includes(this.#text[this.#at]!)) this.#at++;
    return this.#text.slice(from, this.#at);
  }

  #variable(): string {
    this.#at++;
    if (this.#text[this.#at] !== "{") {
      const name = this.#name();
      if (name === "") return "$";
      return this.#look(name) ?? (this.#options.keepUnset ? `$${name}` : "");
    }
    this.#at++;
    const first = this.#text[this.#at];
    if (first === undefined) throw invalid("syntax error: missing '}'");
    if (first === "{" || first === "}" || first === ":") throw invalid("syntax error: bad substitution");
    if (++this.#depth > MAX_DEPTH) throw invalid("substitutions are nested too deeply");
    const value = this.#substitution(this.#name());
    this.#depth--;
    return value;
  }

  #substitution(name: string): string {
    const modifier = this.#next() ?? "";
    if (modifier === "") throw invalid("syntax error: missing '}'");
    if (modifier === "}") return this.#look(name) ?? (this.#options.keepUnset ? `\${${name}}` : "");
    if (modifier === "/") return this.#replacement(name);
    if (modifier === "#" || modifier === "%") return this.#trimmed(name, modifier);
    if (modifier !== ":") return this.#conditional(name, modifier, modifier);
    const conditional = this.#next() ?? "";
    if (conditional === "#" || conditional === "%") throw unsupported(`:${conditional}`);
    return this.#conditional(name, conditional, `:${conditional}`);
  }

  #conditional(name: string, modifier: string, written: string): string {
    if (written.length === 1 && !"+-?".includes(modifier)) throw unsupported(written);
    const emptyIsUnset = written.length > 1;
    const other = this.#inner("}", false);
    const value = this.#look(name);
    if (value === undefined && this.#options.keepUnset) return `\${${name}${written}${other}}`;
    const isSet = value !== undefined && !(emptyIsUnset && value === "");
    switch (modifier) {
      case "-":
        return isSet ? value : other;
      case "+":
        return isSet ? other : "";
      case "?":
        if (isSet) return value;
        throw invalid(`${name}: ${other || `is not allowed to be ${value === undefined ? "unset" : "empty"}`}`);
      default:
        throw unsupported(written);
    }
  }

  #trimmed(name: string, modifier: "#" | "%"): string {
    const word = this.#inner("}", true);
    const value = this.#look(name);
    if (value === undefined && this.#options.keepUnset) return `\${${name}${modifier}${word}}`;
    this.#work += PATTERN_COST * (value ?? "").length * (word.length + 1);
    const longest = word.startsWith(modifier);
    const pattern = longest ? word.slice(1) : word;
    return modifier === "#"
      ? withoutPrefix(pattern, value ?? "", longest)
      : withoutSuffix(pattern, value ?? "", longest);
  }

  #replacement(name: string): string {
    const all = this.#text[this.#at] === "/";
    if (all) this.#at++;
    const pattern = this.#inner("/", true, "syntax error: missing '/' in ${}");
    const replacement = this.#inner("}", true);
    const value = this.#look(name);
    if (value === undefined && this.#options.keepUnset) return `\${${name}/${pattern}/${replacement}}`;
    this.#work += PATTERN_COST * (value ?? "").length * (pattern.length + 1);
    return replaced(pattern, value ?? "", replacement, all);
  }

  /** The inside of a substitution, up to what ends it. */
  #inner(stop: string, keepEscapes: boolean, unended = "syntax error: missing '}'"): string {
    const before = this.#keepEscapes;
    this.#keepEscapes = keepEscapes;
    try {
      return this.#until(stop, undefined);
    } catch (error) {
      if (error instanceof GantryError && this.#at >= this.#text.length && !/nested|too long/.test(error.message)) {
        throw invalid(unended);
      }
      throw error;
    } finally {
      this.#keepEscapes = before;
    }
  }

  #name(): string {
    const from = this.#at;
    const first = this.#peek();
    if (first === undefined) return "";
    if (DIGIT.test(first)) {
      while (DIGIT.test(this.#peek() ?? "")) this.#next();
    } else if (SPECIAL_PARAMETERS.includes(first)) this.#at++;
    else while (LETTER.test(this.#peek() ?? "")) this.#next();
    return this.#text.slice(from, this.#at);
  }

  #look(name: string): string | undefined {
    const value = this.#variables.get(name);
    (value === undefined ? this.#unmatched : this.#matched).add(name);
    return value;
  }
}

/** Words as they come: what was quoted or escaped never ends one. */
class WordSplitter {
  readonly #words: string[] = [];
  #word = "";

  add(text: string): void {
    this.#word += text;
  }

  addLoose(text: string): void {
    let from = 0;
    for (let at = 0; at < text.length; at++) {
      if (!isSpace(text[at]!)) continue;
      this.#word += text.slice(from, at);
      this.#flush();
      from = at + 1;
    }
    this.#word += text.slice(from);
  }

  end(): readonly string[] {
    this.#flush();
    return this.#words;
  }

  #flush(): void {
    if (this.#word !== "") this.#words.push(this.#word);
    this.#word = "";
  }
}

function tooLong(): GantryError {
  return invalid("the text is too long when its variables are put in");
}

function unsupported(modifier: string): GantryError {
  return invalid(`unsupported modifier (${modifier}) in substitution`);
}

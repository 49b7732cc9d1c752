/** Why a text is no JSON, in the words of Go's decoder; undefined if its first value is one. */
export function goJsonError(text: string): string | undefined {
  try {
    new Scanner(text).value(0);
    return undefined;
  } catch (error) {
    if (error instanceof Malformed) return error.message;
    throw error;
  }
}

class Malformed extends Error {}

/** Less than Go allows, so that the stack of this runtime suffices. */
const MAX_DEPTH = 1000;
const LITERALS: Readonly<Record<string, string>> = { t: "true", f: "false", n: "null" };

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): void {
    if (depth > MAX_DEPTH) throw new Malformed("exceeded max depth");
    const first = this.#next();
    if (first === "{") this.#object(depth);
    else if (first === "[") this.#array(depth);
    else if (first === '"') this.#string();
    else if (first === "-" || /[0-9]/.test(first)) this.#number(first);
    else {
      const literal = LITERALS[first];
      if (literal === undefined) throw this.#unexpected(first, "looking for beginning of value");
      for (const letter of literal.slice(1)) {
        const char = this.#take();
        if (char !== letter) throw this.#unexpected(char, `in literal ${literal} (expecting ${quoted(letter)})`);
      }
    }
  }

  #object(depth: number): void {
    let char = this.#next();
    if (char === "}") return;
    for (;;) {
      if (char !== '"') throw this.#unexpected(char, "looking for beginning of object key string");
      this.#string();
      char = this.#next();
      if (char !== ":") throw this.#unexpected(char, "after object key");
      this.value(depth + 1);
      char = this.#next();
      if (char === "}") return;
      if (char !== ",") throw this.#unexpected(char, "after object key:value pair");
      char = this.#next();
    }
  }

  #array(depth: number): void {
    if (this.#next() === "]") return;
    this.#at--;
    for (;;) {
      this.value(depth + 1);
      const char = this.#next();
      if (char === "]") return;
      if (char !== ",") throw this.#unexpected(char, "after array element");
    }
  }

  #string(): void {
    for (;;) {
      const char = this.#take();
      if (char === '"') return;
      if (char < " ") throw this.#unexpected(char, "in string literal");
      if (char !== "\\") continue;
      const letter = this.#take();
      if (letter === "u") {
        for (let digit = 0; digit < 4; digit++) {
          const hex = this.#take();
          if (!/[0-9a-fA-F]/.test(hex)) throw this.#unexpected(hex, "in \\u hexadecimal character escape");
        }
      } else if (!'"\\/bfnrt'.includes(letter)) throw this.#unexpected(letter, "in string escape code");
    }
  }

  #number(first: string): void {
    if (first === "-") this.#digit("in numeric literal");
    this.#digits();
    if (this.#text[this.#at] === ".") {
      this.#at++;
      this.#digit("after decimal point in numeric literal");
      this.#digits();
    }
    if (/[eE]/.test(this.#text[this.#at] ?? "")) {
      this.#at++;
      if (/[+-]/.test(this.#text[this.#at] ?? "")) this.#at++;
      this.#digit("in exponent of numeric literal");
      this.#digits();
    }
  }

  #digit(where: string): void {
    const char = this.#take();
    if (!/[0-9]/.test(char)) throw this.#unexpected(char, where);
  }

  #digits(): void {
    while (/[0-9]/.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  /** The next character that is no space. */
  #next(): string {
    for (;;) {
      const char = this.#take();
      if (!/[ \t\r\n]/.test(char)) return char;
    }
  }

  #take(): string {
    const char = this.#text[this.#at++];
    if (char === undefined) throw new Malformed("unexpected EOF");
    return char;
  }

  #unexpected(char: string, where: string): Malformed {
    return new Malformed(`invalid character ${quoted(char)} ${where}`);
  }
}

function quoted(char: string): string {
  if (char === "'") return "'\\''";
  if (char === '"') return `'"'`;
  return `'${JSON.stringify(char).slice(1, -1)}'`;
}

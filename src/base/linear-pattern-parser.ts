/** Whether a character is one of those that a step takes. */
export type Test = (character: string) => boolean;

/** One step of a machine that is in many at once: take a character, look about, go on at others, be done. */
export type Step =
  | { readonly is: "take"; readonly test: Test }
  | { readonly is: "look"; readonly test: (before: string | undefined, after: string | undefined) => boolean }
  | { readonly is: "fork"; readonly to: readonly number[] }
  | { readonly is: "match" };

/** Puts a part's steps at the end of a program; may be called more than once. */
type Part = (program: Step[]) => void;

const MOST_STEPS = 5_000;
const MOST_REPEATS = 1_000;
const MOST_DEPTH = 200;

const isDigit: Test = (c) => /^\d$/.test(c);
const isWord: Test = (c) => /^\w$/.test(c);
const isSpace: Test = (c) => /^[\t\n\f\r ]$/.test(c);
const not =
  (test: Test): Test =>
  (c) =>
    !test(c);
const KINDS: ReadonlyMap<string, Test> = new Map([
  ["d", isDigit],
  ["D", not(isDigit)],
  ["w", isWord],
  ["W", not(isWord)],
  ["s", isSpace],
  ["S", not(isSpace)],
]);
const CONTROLS: ReadonlyMap<string, string> = new Map([
  ["n", "\n"],
  ["t", "\t"],
  ["r", "\r"],
  ["f", "\f"],
  ["v", "\v"],
  ["a", "\x07"],
]);

/** The machine of an expression. Throws SyntaxError. */
export function stepsOf(source: string): readonly Step[] {
  const program: Step[] = [];
  new Parser([...source]).whole()(program);
  add(program, { is: "match" });
  return program;
}

function add(program: Step[], step: Step): number {
  if (program.length >= MOST_STEPS) throw new SyntaxError("the expression is too large");
  return program.push(step) - 1;
}

function look(test: Extract<Step, { is: "look" }>["test"]): Part {
  return (program) => void add(program, { is: "look", test });
}

/** Steps whose targets are known only when what follows them is written. */
function fork(program: Step[]): (to: readonly number[]) => void {
  const at = add(program, { is: "match" });
  return (to) => {
    program[at] = { is: "fork", to };
  };
}

class Parser {
  readonly #source: readonly string[];
  #at = 0;
  #depth = 0;
  #ignoresCase = false;
  #dotTakesLines = false;

  constructor(source: readonly string[]) {
    this.#source = source;
  }

  whole(): Part {
    const part = this.#alternatives();
    if (this.#at < this.#source.length) throw new SyntaxError("unexpected )");
    return part;
  }

  #alternatives(): Part {
    if (++this.#depth > MOST_DEPTH) throw new SyntaxError("the expression is nested too deeply");
    const parts = [this.#sequence()];
    while (this.#skip("|")) parts.push(this.#sequence());
    this.#depth--;
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) return only;
    return (program) => {
      const begin = fork(program);
      const starts: number[] = [];
      const ends = parts.map((part) => {
        starts.push(program.length);
        part(program);
        return fork(program);
      });
      begin(starts);
      for (const end of ends) end([program.length]);
    };
  }

  #sequence(): Part {
    const parts: Part[] = [];
    while (this.#at < this.#source.length && !this.#ahead("|") && !this.#ahead(")")) parts.push(this.#repeated());
    return (program) => {
      for (const part of parts) part(program);
    };
  }

  #repeated(): Part {
    const part = this.#one();
    const range = this.#range();
    if (range === undefined) return part;
    this.#skip("?");
    if (this.#range() !== undefined) throw new SyntaxError("invalid nested repetition operator");
    const [least, most] = range;
    return (program) => {
      for (let count = 0; count < least; count++) part(program);
      if (most === Number.POSITIVE_INFINITY) {
        const loop = program.length;
        const choose = fork(program);
        part(program);
        fork(program)([loop]);
        choose([loop + 1, program.length]);
        return;
      }
      const exits: [number, (to: readonly number[]) => void][] = [];
      for (let count = least; count < most; count++) {
        const choose = fork(program);
        exits.push([program.length, choose]);
        part(program);
      }
      for (const [inside, choose] of exits) choose([inside, program.length]);
    };
  }

  #range(): readonly [least: number, most: number] | undefined {
    if (this.#skip("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#skip("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#skip("?")) return [0, 1];
    if (!this.#ahead("{")) return undefined;
    const counted = /^\{(\d{1,4})(?:(,)(\d{0,4}))?\}/.exec(this.#source.slice(this.#at, this.#at + 12).join(""));
    // A brace that counts nothing is itself.
    if (counted === null) return undefined;
    this.#at += counted[0].length;
    const least = Number(counted[1]);
    const most = counted[2] === undefined ? least : counted[3] ? Number(counted[3]) : Number.POSITIVE_INFINITY;
    const largest = most === Number.POSITIVE_INFINITY ? least : most;
    if (least > most || largest > MOST_REPEATS) throw new SyntaxError("invalid repeat count");
    return [least, most];
  }

  #one(): Part {
    const character = this.#source[this.#at++] ?? "";
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return this.#take(this.#set());
      case ".": {
        const takesLines = this.#dotTakesLines;
        return this.#take((c) => takesLines || c !== "\n");
      }
      case "^":
        return look((before) => before === undefined);
      case "$":
        return look((_, after) => after === undefined);
      case "*":
      case "+":
      case "?":
        throw new SyntaxError("missing argument to repetition operator");
      case "\\":
        return this.#escaped();
      default:
        return this.#take((c) => c === character);
    }
  }

  #group(): Part {
    const before = [this.#ignoresCase, this.#dotTakesLines] as const;
    if (this.#skip("?")) {
      const rest = this.#source.slice(this.#at, this.#at + 64).join("");
      const opening = /^(?:P?<[A-Za-z_]\w*>|([is]*)(:|\)))/.exec(rest);
      if (opening === null) throw new SyntaxError("invalid or unsupported Perl syntax");
      this.#at += [...opening[0]].length;
      this.#ignoresCase ||= opening[1]?.includes("i") === true;
      this.#dotTakesLines ||= opening[1]?.includes("s") === true;
      // Flags alone hold to the end of the group that they are in.
      if (opening[2] === ")") return () => {};
    }
    const part = this.#alternatives();
    if (!this.#skip(")")) throw new SyntaxError("missing closing )");
    [this.#ignoresCase, this.#dotTakesLines] = before;
    return part;
  }

  #escaped(): Part {
    const character = this.#source[this.#at];
    const boundary = (before: string | undefined, after: string | undefined) =>
      isWord(before ?? " ") !== isWord(after ?? " ");
    const looks: Readonly<Record<string, Part>> = {
      b: look(boundary),
      B: look((before, after) => !boundary(before, after)),
      A: look((before) => before === undefined),
      z: look((_, after) => after === undefined),
    };
    if (character !== undefined && Object.hasOwn(looks, character)) {
      this.#at++;
      return looks[character]!;
    }
    const { kind, literal } = this.#escape();
    return this.#take(kind ?? ((c) => c === literal));
  }

  /** What follows a backslash, inside brackets as well as outside. */
  #escape(): { readonly kind?: Test; readonly literal: string } {
    const character = this.#source[this.#at++] ?? "";
    const kind = KINDS.get(character);
    if (kind !== undefined) return { kind, literal: "" };
    const control = CONTROLS.get(character);
    if (control !== undefined) return { literal: control };
    if (character === "" || /^[A-Za-z0-9]$/.test(character)) throw new SyntaxError("invalid escape sequence");
    return { literal: character };
  }

  #set(): Test {
    const negated = this.#skip("^");
    const tests: Test[] = [];
    for (let first = true; first || !this.#ahead("]"); first = false) {
      const { kind, literal } = this.#setMember();
      if (kind !== undefined) tests.push(kind);
      else if (this.#ahead("-") && this.#source[this.#at + 1] !== "]") {
        this.#at++;
        const { kind: no, literal: last } = this.#setMember();
        if (no !== undefined || last < literal) throw new SyntaxError("invalid character class range");
        tests.push((c) => literal <= c && c <= last);
      } else tests.push((c) => c === literal);
    }
    this.#at++;
    const any = (c: string) => tests.some((test) => test(c));
    const test = this.#ignoresCase ? (c: string) => any(c.toLowerCase()) || any(c.toUpperCase()) : any;
    return negated ? not(test) : test;
  }

  #setMember(): { readonly kind?: Test; readonly literal: string } {
    const character = this.#source[this.#at++];
    if (character === undefined) throw new SyntaxError("missing closing ]");
    return character === "\\" ? this.#escape() : { literal: character };
  }

  #take(exact: Test): Part {
    const test = this.#ignoresCase
      ? (c: string) => exact(c) || exact(c.toLowerCase()) || exact(c.toUpperCase())
      : exact;
    return (program) => void add(program, { is: "take", test });
  }

  #ahead(character: string): boolean {
    return this.#source[this.#at] === character;
  }

  #skip(character: string): boolean {
    if (!this.#ahead(character)) return false;
    this.#at++;
    return true;
  }
}

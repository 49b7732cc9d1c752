import { GantryError } from "../base/errors.ts";

type Env = Readonly<Record<string, string | undefined>>;

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const MAX_DEPTH = 32;

/** Puts variables into a text as Compose does: `$A`, `${A}`, `${A:-b}`, `${A-b}`, `:?`, `?`, `:+`, `+`; `$$` is a dollar. */
export function interpolate(text: string, env: Env): string {
  return new Scan(text, env).read(false, 0);
}

class Scan {
  readonly #text: string;
  readonly #env: Env;
  #at = 0;

  constructor(text: string, env: Env) {
    this.#text = text;
    this.#env = env;
  }

  /** Up to the end, or up to a closing brace, which is left. */
  read(inBraces: boolean, depth: number): string {
    if (depth > MAX_DEPTH) throw this.#invalid();
    let result = "";
    while (this.#at < this.#text.length) {
      const next = this.#text[this.#at]!;
      if (inBraces && next === "}") break;
      this.#at++;
      if (next !== "$") result += next;
      else if (this.#text[this.#at] === "$") {
        this.#at++;
        result += "$";
      } else if (this.#text[this.#at] === "{") result += this.#braced(depth);
      else result += this.#env[this.#name()] ?? "";
    }
    return result;
  }

  #braced(depth: number): string {
    this.#at++;
    const name = this.#name();
    const operator = /:?[-?+]/y;
    operator.lastIndex = this.#at;
    const found = operator.exec(this.#text)?.[0] ?? "";
    this.#at += found.length;
    const word = found === "" ? "" : this.read(true, depth + 1);
    if (this.#text[this.#at] !== "}") throw this.#invalid();
    this.#at++;
    const value = this.#env[name];
    const isThere = value !== undefined && !(found.startsWith(":") && value === "");
    const kind = found.at(-1);
    if (kind === "+") return isThere ? word : "";
    if (isThere) return value;
    if (kind === "?")
      throw new GantryError("invalid", `required variable ${name} is missing a value${word === "" ? "" : `: ${word}`}`);
    return kind === "-" ? word : "";
  }

  #name(): string {
    NAME.lastIndex = this.#at;
    const name = NAME.exec(this.#text)?.[0];
    if (name === undefined) throw this.#invalid();
    this.#at += name.length;
    return name;
  }

  #invalid(): GantryError {
    return new GantryError(
      "invalid",
      `invalid interpolation format: ${JSON.stringify(this.#text.slice(0, 200))}. You may need to escape any $ with another $`,
    );
  }
}

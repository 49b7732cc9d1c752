import { messageOf } from "../../base/errors.ts";
import { boolFlag, type FlagSpec } from "./spec.ts";

/** The command line is wrong; `message` is what pflag says. */
export class FlagError extends Error {
  override readonly name = "FlagError";
}

/** What a command line gave: flags by name and the arguments that are none. */
export class ParsedFlags {
  readonly #specs: ReadonlyMap<string, FlagSpec>;
  readonly #given: ReadonlyMap<string, readonly string[]>;
  readonly args: readonly string[];
  /** `--help` was met; nothing after it was read. */
  readonly help: "no" | "long" | "short";

  constructor(
    specs: ReadonlyMap<string, FlagSpec>,
    given: ReadonlyMap<string, readonly string[]>,
    args: readonly string[],
    help: "no" | "long" | "short",
  ) {
    this.#specs = specs;
    this.#given = given;
    this.args = args;
    this.help = help;
  }

  /** What to tell of flags that were given but should not be any more. */
  get deprecations(): readonly string[] {
    return [...this.#specs.values()]
      .filter((spec) => spec.deprecated !== undefined && this.changed(spec.name))
      .map((spec) => `Flag --${spec.name} has been deprecated, ${spec.deprecated}`);
  }

  changed(name: string): boolean {
    return this.#given.has(name);
  }

  /** The last value given, else the default. */
  text(name: string): string {
    return this.#given.get(name)?.at(-1) ?? this.#specs.get(name)?.initial ?? "";
  }

  bool(name: string): boolean {
    return this.text(name) === "true";
  }

  int(name: string): number {
    return Number(this.text(name));
  }

  /** All values in the order given. */
  list(name: string): readonly string[] {
    return this.#given.get(name) ?? [];
  }
}

/**
 * Parses as Go's pflag does. With `interspersed` false the first argument that is no flag ends the flags, as `run` and
 * `exec` need it.
 */
export function parseFlags(specs: readonly FlagSpec[], argv: readonly string[], interspersed = true): ParsedFlags {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const byShort = new Map(specs.flatMap((spec) => (spec.short === undefined ? [] : [[spec.short, spec] as const])));
  const given = new Map<string, string[]>();
  const args: string[] = [];
  const set = (spec: FlagSpec, value: string): void => {
    const checked = checkedValue(spec, value);
    if (spec.into !== undefined) given.set(spec.name, [checked]);
    const values = given.get(spec.into ?? spec.name);
    if (values === undefined) given.set(spec.into ?? spec.name, [checked]);
    else values.push(checked);
  };

  let at = 0;
  const next = (missing: string): string => {
    const value = argv[at];
    if (value === undefined) throw new FlagError(missing);
    at++;
    return value;
  };

  while (at < argv.length) {
    const word = argv[at] ?? "";
    if (word.length < 2 || !word.startsWith("-")) {
      if (!interspersed) return new ParsedFlags(byName, given, [...args, ...argv.slice(at)], "no");
      args.push(word);
      at++;
    } else if (word === "--") {
      return new ParsedFlags(byName, given, [...args, ...argv.slice(at + 1)], "no");
    } else if (word.startsWith("--")) {
      at++;
      const equals = word.indexOf("=", 2);
      const name = equals === -1 ? word.slice(2) : word.slice(2, equals);
      if (name === "" || name.startsWith("-")) throw new FlagError(`bad flag syntax: ${word}`);
      const spec = byName.get(name);
      if (spec === undefined) {
        if (name === "help") {
          if (equals === -1 || checkedValue(HELP, word.slice(equals + 1)) === "true") {
            return new ParsedFlags(byName, given, args, "long");
          }
          continue;
        }
        throw new FlagError(`unknown flag: --${name}`);
      }
      if (equals !== -1) set(spec, word.slice(equals + 1));
      else set(spec, spec.bare ?? next(`flag needs an argument: --${name}`));
    } else {
      at++;
      let rest = word.slice(1);
      while (rest !== "") {
        const letter = rest[0] ?? "";
        const spec = byShort.get(letter);
        if (spec === undefined) {
          if (letter === "h") return new ParsedFlags(byName, given, args, "short");
          throw new FlagError(`unknown shorthand flag: '${letter}' in -${rest}`);
        }
        if (rest.length > 2 && rest[1] === "=") {
          set(spec, rest.slice(2));
          break;
        }
        if (spec.bare !== undefined) {
          set(spec, spec.bare);
          rest = rest.slice(1);
          continue;
        }
        set(spec, rest.length > 1 ? rest.slice(1) : next(`flag needs an argument: '${letter}' in -${rest}`));
        break;
      }
    }
  }
  return new ParsedFlags(byName, given, args, "no");
}

const HELP = boolFlag("help", "Print usage");

function checkedValue(spec: FlagSpec, value: string): string {
  try {
    return spec.check === undefined ? value : spec.check(value);
  } catch (error) {
    const name = spec.short === undefined ? `--${spec.name}` : `-${spec.short}, --${spec.name}`;
    throw new FlagError(`invalid argument ${JSON.stringify(value)} for "${name}" flag: ${messageOf(error)}`);
  }
}

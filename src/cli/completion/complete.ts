import { COMMANDS, type CommandRow, findCommand, groupsIn } from "../commands.ts";
import { engineClient } from "../engine-client.ts";
import { type ParsedFlags, parseFlags } from "../flags/parse.ts";
import type { FlagSpec } from "../flags/spec.ts";
import { print } from "../output/print.ts";
import { settingsFrom } from "../settings.ts";
import { type Asked, type Candidates, nothing } from "./sources.ts";
import { ARGUMENTS, FLAG_VALUES } from "./table.ts";
import { wordsOf } from "./words.ts";

/**
 * `gantry __complete --line LINE` or `--words WORD…`: prints what the last word may be completed to. Says nothing and
 * ends with 0 whatever goes wrong, as a shell that waits for keys wants it.
 */
export async function complete(argv: readonly string[], globals: readonly FlagSpec[]): Promise<number> {
  const words = argv[0] === "--line" ? wordsOf(argv[1] ?? "").slice(1) : argv.slice(1);
  try {
    print(answerText(await candidatesOf(words, globals), words.at(-1) ?? ""));
  } catch {
    print(":\n");
  }
  return 0;
}

function answerText(candidates: Candidates, word: string): string {
  // Bash completes only what comes after the last of these in a word.
  const breaks = process.env.GANTRY_COMPLETE_BREAKS ?? "";
  const cut = Math.max(...[":", "="].map((sign) => (breaks.includes(sign) ? word.lastIndexOf(sign) : -1))) + 1;
  const seen = new Set<string>();
  const lines: string[] = [];
  for (const candidate of candidates.values) {
    const [value, description = ""] = typeof candidate === "string" ? [candidate] : candidate;
    // What would steer the terminal, or be taken for two, is no candidate.
    if (!value.startsWith(word) || seen.has(value) || /[\x00-\x20\x7f-\x9f]/.test(value)) continue;
    seen.add(value);
    const shown = description.replace(/[\x00-\x1f\x7f-\x9f]/g, " ");
    lines.push(`${value.slice(cut)}${shown === "" ? "" : `\t${shown}`}`);
  }
  return `${lines.map((line) => `${line}\n`).join("")}:${candidates.also ?? ""}\n`;
}

async function candidatesOf(words: readonly string[], globals: readonly FlagSpec[]): Promise<Candidates> {
  const typed = words.slice(0, -1);
  const word = words.at(-1) ?? "";
  const start = new FlagWalk(globals, typed, false);
  const settled = start.settled();
  const asked = (walk: FlagWalk): Asked => {
    const settings = settingsFrom(settled);
    const flags = walk.settled();
    const read = { flag: (name: string) => flags.text(name), flagList: (name: string) => flags.list(name) };
    return { settings, client: () => engineClient(settings), ...read, args: walk.args };
  };
  const value = start.pending ?? start.valueIn(word);
  if (value !== undefined && start.args.length === 0)
    return await flagValue(asked(start), "", value.spec, value.prefix, word);
  if (start.args.length === 0) return word.startsWith("-") ? flagNames(globals) : rootNames();
  const found = commandOf(start.args);
  if (found === undefined) return start.args.length <= 2 ? groupNames(start.args.join(" ")) : { values: [] };
  const command = await found.row.load();
  const walk = new FlagWalk(command.flags, found.rest, command.interspersed ?? true);
  const key = `${found.row.group} ${found.row.name}`;
  const own = walk.pending ?? walk.valueIn(word);
  if (own !== undefined) return await flagValue(asked(walk), key, own.spec, own.prefix, word);
  if (word.startsWith("-") && walk.takesFlags) return flagNames(command.flags);
  const sources = ARGUMENTS[key] ?? [];
  const source = sources[Math.min(walk.args.length, sources.length - 1)] ?? nothing;
  const candidates = await source(asked(walk), word);
  const given = new Set(walk.args);
  return {
    ...candidates,
    values: candidates.values.filter((one) => !given.has(typeof one === "string" ? one : one[0])),
  };
}

function commandOf(
  args: readonly string[],
): { readonly row: CommandRow; readonly rest: readonly string[] } | undefined {
  const [first = "", second = ""] = args;
  const direct = findCommand("", first);
  if (direct !== undefined) return { row: direct, rest: args.slice(1) };
  const inner = args.length > 1 ? findCommand(first, second) : undefined;
  if (inner !== undefined) return { row: inner, rest: args.slice(2) };
  const deeper = args.length > 2 ? findCommand(`${first} ${second}`, args[2] ?? "") : undefined;
  return deeper === undefined ? undefined : { row: deeper, rest: args.slice(3) };
}

function rootNames(): Candidates {
  const rows = COMMANDS.filter((row) => row.shortcut !== undefined && !row.hidden);
  const values = [
    ...rows.map((row) => [row.shortcut ?? "", row.short] as const),
    ...groupsIn("").map(({ name, short }) => [name, short] as const),
    ["help", "Help about a command"] as const,
  ];
  return { values: values.sort(([a], [b]) => (a < b ? -1 : 1)) };
}

function groupNames(group: string): Candidates {
  if (group === "help") return rootNames();
  const rows = COMMANDS.filter((row) => row.group === group && !row.hidden);
  const values = [...rows, ...groupsIn(group)].map(({ name, short }) => [name, short] as const);
  return { values: values.sort(([a], [b]) => (a < b ? -1 : 1)) };
}

function flagNames(specs: readonly FlagSpec[]): Candidates {
  const shown = specs.filter((spec) => !spec.hidden && !spec.windows);
  const values = shown.map((spec) => [`--${spec.name}`, spec.usage.split("\n")[0] ?? ""] as const);
  return { values: [...values, ["--help", "Print usage"] as const].sort(([a], [b]) => (a < b ? -1 : 1)) };
}

async function flagValue(
  asked: Asked,
  command: string,
  spec: FlagSpec,
  prefix: string,
  word: string,
): Promise<Candidates> {
  const name = spec.into ?? spec.name;
  const source = FLAG_VALUES[`${command} --${name}`] ?? FLAG_VALUES[name] ?? nothing;
  const candidates = await source(asked, word.slice(prefix.length));
  if (prefix === "") return candidates;
  return {
    ...candidates,
    values: candidates.values.map((one) => `${prefix}${typeof one === "string" ? one : one[0]}`),
  };
}

interface FlagPlace {
  readonly spec: FlagSpec;
  /** What of the word comes before the value. */
  readonly prefix: string;
}

/** Words that were typed, taken apart without complaints: which are arguments, and whether a flag waits for its value. */
class FlagWalk {
  readonly args: readonly string[];
  /** The flag whose value is the word that comes next. */
  readonly pending: FlagPlace | undefined;
  /** Flags may still follow. */
  readonly takesFlags: boolean;
  readonly #specs: readonly FlagSpec[];
  readonly #words: readonly string[];

  constructor(specs: readonly FlagSpec[], words: readonly string[], interspersed: boolean) {
    this.#specs = specs;
    this.#words = words;
    const args: string[] = [];
    let pending: FlagSpec | undefined;
    let ended = false;
    for (const word of words) {
      if (pending !== undefined) pending = undefined;
      else if (ended || !word.startsWith("-") || word === "-") {
        args.push(word);
        if (!interspersed) ended = true;
      } else if (word === "--") ended = true;
      else if (!word.includes("=")) pending = this.#waiting(word);
    }
    this.args = args;
    this.pending = pending === undefined ? undefined : { spec: pending, prefix: "" };
    this.takesFlags = !ended;
  }

  /** The flag that a word leaves waiting for a value. */
  #waiting(word: string): FlagSpec | undefined {
    const found = word.startsWith("--")
      ? this.#specs.find((spec) => spec.name === word.slice(2))
      : this.#specs.find((spec) => spec.short === word.at(-1));
    return found === undefined || found.bare !== undefined ? undefined : found;
  }

  /** The flag and its value in one word: `--name=val`. */
  valueIn(word: string): FlagPlace | undefined {
    const name = /^--([^=]+)=/.exec(word)?.[1];
    const spec = name === undefined || !this.takesFlags ? undefined : this.#specs.find((one) => one.name === name);
    return spec === undefined ? undefined : { spec, prefix: `--${spec.name}=` };
  }

  /** The flags given so far; none where they are faulty. */
  settled(): ParsedFlags {
    const words = this.pending === undefined ? this.#words : this.#words.slice(0, -1);
    try {
      return parseFlags(this.#specs, words, false);
    } catch {
      return parseFlags(this.#specs, []);
    }
  }
}

import { VERSION } from "../base/version.ts";
import { EngineClient, isOlder } from "../client/client.ts";
import { argumentComplaint, type Call, type Command, ExitError } from "./command.ts";
import { COMMANDS, type CommandRow, findCommand, GROUPS, groupsIn } from "./commands.ts";
import { engineClient } from "./engine-client.ts";
import { errorLine } from "./error-line.ts";
import { FlagError, type ParsedFlags, parseFlags } from "./flags/parse.ts";
import { boolFlag, type FlagSpec, listFlag, textFlag } from "./flags/spec.ts";
import { complain, print, printLine } from "./output/print.ts";
import { settingsFrom } from "./settings.ts";

const GLOBALS: readonly FlagSpec[] = [
  textFlag("config", "Folder of the client's configuration files", { shownDefault: '"~/.docker"' }),
  textFlag("c,context", "Docker context that names the engine to connect to (overrides GANTRY_HOST and DOCKER_HOST)"),
  boolFlag("D,debug", "Enable debug mode"),
  listFlag("H,host", "Engine socket to connect to"),
  textFlag("l,log-level", 'Set the logging level ("debug", "info", "warn", "error", "fatal")', { initial: "info" }),
  boolFlag("tls", "Use TLS; implied by --tlsverify"),
  textFlag("tlscacert", "Trust certificates signed only by this CA"),
  textFlag("tlscert", "Path to TLS certificate file"),
  textFlag("tlskey", "Path to TLS key file"),
  boolFlag("tlsverify", "Use TLS and verify the engine"),
  boolFlag("v,version", "Print version information and quit"),
];

/** Runs one command line and resolves to the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  let globals: ParsedFlags;
  try {
    globals = parseFlags(GLOBALS, argv, false);
  } catch (error) {
    if (!(error instanceof FlagError)) throw error;
    complain(
      `${error.message}\n\nUsage:  gantry [OPTIONS] COMMAND [ARG...]\n\nRun 'gantry --help' for more information`,
    );
    return 125;
  }
  if (globals.bool("version")) {
    printLine(`Gantry version ${VERSION}`);
    return 0;
  }
  if (!/^(trace|debug|info|warn|warning|error|fatal|panic)$/i.test(globals.text("log-level"))) {
    complain(`Unable to parse logging level: ${globals.text("log-level")}`);
    return 1;
  }
  const consumed = globals.help === "no" ? globals.args : argv.slice(argv.findIndex(isHelp) + 1);
  const wantsHelp = globals.help !== "no" || consumed[0] === "help";
  const words = consumed[0] === "help" ? consumed.slice(1) : consumed;
  if (words[0] === "__complete") {
    const { complete } = await import("./completion/complete.ts");
    return await complete(words.slice(1), GLOBALS);
  }
  if (words[0] === undefined) {
    const { rootHelp } = await import("./help.ts");
    (wantsHelp ? printLine : complain)(rootHelp(GLOBALS).trimEnd());
    return 0;
  }
  return await dispatch(globals, words, wantsHelp);
}

function isHelp(word: string): boolean {
  return word === "--help" || word === "-h";
}

async function dispatch(globals: ParsedFlags, words: readonly string[], wantsHelp: boolean): Promise<number> {
  const first = words[0] ?? "";
  const direct = findCommand("", first);
  if (direct !== undefined) return await invoke(globals, direct, `gantry ${first}`, words.slice(1), wantsHelp);
  if (!GROUPS.some((group) => group.name === first)) {
    if (wantsHelp) {
      complain(`unknown help topic: ${words.join(" ")}`);
      return 1;
    }
    return await unknown(
      "gantry",
      first,
      COMMANDS.flatMap((row) => row.shortcut ?? []).concat(groupsIn("").map(({ name }) => name)),
    );
  }
  return await dispatchGroup(globals, first, words.slice(1), wantsHelp);
}

/** A command of a group, or of a group within it. */
async function dispatchGroup(
  globals: ParsedFlags,
  group: string,
  words: readonly string[],
  wantsHelp: boolean,
): Promise<number> {
  const [name] = words;
  if (name === undefined || isHelp(name) || name === "help") {
    const { groupHelp } = await import("./help.ts");
    // Asked for, help is what the command prints; else it says what is missing.
    (name === undefined && !wantsHelp ? complain : printLine)(groupHelp(group).trimEnd());
    return 0;
  }
  const command = findCommand(group, name);
  if (command !== undefined) {
    return await invoke(globals, command, `gantry ${group} ${name}`, words.slice(1), wantsHelp);
  }
  if (groupsIn(group).some((inner) => inner.name === name)) {
    return await dispatchGroup(globals, `${group} ${name}`, words.slice(1), wantsHelp);
  }
  if (name.startsWith("-")) {
    const text = name.startsWith("--")
      ? `unknown flag: ${name.split("=")[0]}`
      : `unknown shorthand flag: '${name[1] ?? ""}' in ${name}`;
    complain(`${text}\n\nUsage:  gantry ${group} COMMAND\n\nRun 'gantry ${group} --help' for more information`);
    return 125;
  }
  const siblings = COMMANDS.filter((row) => row.group === group).flatMap((row) => [row.name, ...row.aliases]);
  return await unknown(`gantry ${group}`, name, siblings);
}

async function unknown(parent: string, word: string, candidates: readonly string[]): Promise<number> {
  const { laterSentence } = await import("./later.ts");
  const later = laterSentence(`${parent} ${word}`.slice("gantry ".length));
  if (later !== undefined) {
    complain(later);
    return 1;
  }
  const { didYouMean, nearest } = await import("./nearest.ts");
  const hint = didYouMean(nearest(word, candidates));
  const usage =
    parent === "gantry" ? "" : `Usage:  ${parent}${/ (volume|manifest)$/.test(parent) ? " COMMAND" : ""}\n\n`;
  complain(`gantry: unknown command: ${parent} ${word}${hint}\n\n${usage}Run '${parent} --help' for more information`);
  return 1;
}

async function invoke(
  globals: ParsedFlags,
  row: CommandRow,
  name: string,
  argv: readonly string[],
  wantsHelp: boolean,
): Promise<number> {
  const command = await row.load();
  const usage = command.usage === "" ? name : `${name} ${command.usage}`;
  let flags: ParsedFlags;
  try {
    flags = parseFlags(command.flags, argv, command.interspersed ?? true);
  } catch (error) {
    if (!(error instanceof FlagError)) throw error;
    const hint = await flagHint(error.message, command);
    complain(`${error.message}${hint}\n\nUsage:  ${usage}\n\nRun '${name} --help' for more information`);
    return 125;
  }
  if (wantsHelp || flags.help !== "no") {
    if (flags.help === "short") complain("Flag shorthand -h has been deprecated, use --help");
    const { commandHelp } = await import("./help.ts");
    print(commandHelp(name, row, command, await knownVersion(globals, command)));
    return 0;
  }
  for (const text of flags.deprecations) printLine(text);
  const wrong = argumentComplaint(command.args, flags.args.length);
  if (wrong !== undefined) {
    const where = command.args.rule === "at-least" ? "See" : "Run";
    complain(`gantry: '${name}' ${wrong}\n\nUsage:  ${usage}\n\n${where} '${name} --help' for more information`);
    return 1;
  }
  try {
    const settings = settingsFrom(globals);
    const client = command.offline === true ? new EngineClient(NO_ENGINE) : await engineClient(settings);
    const tooNew = await newerThanEngine(name, command, flags, client);
    if (tooNew !== undefined) throw new ExitError(1, tooNew);
    const call: Call = { name, flags, args: flags.args, settings, client };
    return (await command.run(call)) ?? 0;
  } catch (error) {
    return report(error, globals.bool("debug"));
  }
}

/** The flags that an unknown one may have been meant for. */
async function flagHint(message: string, command: Command): Promise<string> {
  const word = /^unknown flag: --(.+)$/.exec(message)?.[1];
  if (word === undefined) return "";
  const { didYouMean, nearest } = await import("./nearest.ts");
  const names = command.flags.filter((flag) => !flag.hidden).map((flag) => flag.name);
  return didYouMean(nearest(word, names).map((flag) => `--${flag}`));
}

/** Stands for the engine in commands that need none. */
const NO_ENGINE = { kind: "unix", path: "/nonexistent", url: "unix:///nonexistent" } as const;

/** What to say if the command or a flag that was given needs a newer API than the engine's. */
async function newerThanEngine(
  name: string,
  command: Command,
  flags: ParsedFlags,
  client: EngineClient,
): Promise<string | undefined> {
  const used = command.flags.filter((flag) => flag.since !== undefined && flags.changed(flag.name));
  const since = typeof command.since === "function" ? command.since(flags) : command.since;
  if (since === undefined && used.length === 0) return undefined;
  // An engine that cannot be reached is complained of by what the command asks it.
  const version = await client.negotiated().catch(() => undefined);
  if (version === undefined) return undefined;
  const needs = (what: string, wanted: string): string =>
    `${what} requires API version ${wanted}, but the Gantry daemon API version is ${version}`;
  if (since !== undefined && isOlder(version, since)) return needs(name, since);
  const late = used.find((flag) => isOlder(version, flag.since ?? ""));
  return late === undefined ? undefined : needs(`"--${late.name}"`, late.since ?? "");
}

/** The API version of the engine, for a help text that depends on it; undefined if none answers. */
async function knownVersion(globals: ParsedFlags, command: Command): Promise<string | undefined> {
  if (!command.flags.some((flag) => flag.since !== undefined)) return undefined;
  try {
    return await (await engineClient(settingsFrom(globals))).negotiated();
  } catch {
    return undefined;
  }
}

function report(error: unknown, debug: boolean): number {
  if (error instanceof ExitError) {
    if (error.message !== "") complain(error.message);
    return error.code;
  }
  complain(errorLine(error));
  if (debug && error instanceof Error && error.stack !== undefined) complain(error.stack);
  return 1;
}

main(process.argv.slice(2)).then(
  // Explicitly: an open standard input or a half-closed stream must not keep a finished command alive.
  (code) => process.exit(code),
  (error: unknown) => process.exit(report(error, false)),
);

import { GantryError } from "../base/errors.ts";
import { OPTIONS } from "./options.ts";

/** The command line taken apart: what was given, not yet what it means. */
export interface GivenFlags {
  /** Flag (without dashes) to its values in order; a switch without a value is `true`. */
  readonly values: ReadonlyMap<string, readonly string[]>;
}

interface FlagShape {
  readonly flag: string;
  readonly short?: string;
  readonly isSwitch: boolean;
  readonly help: string;
}

/** Flags that say what to do rather than how to be. */
const ACTIONS: readonly FlagShape[] = [
  { flag: "config-file", isSwitch: false, help: "Configuration file (default /etc/gantry/daemon.json)" },
  { flag: "validate", isSwitch: true, help: "Check the configuration and end" },
  { flag: "version", short: "v", isSwitch: true, help: "Print the version and end" },
  { flag: "help", short: "h", isSwitch: true, help: "Print this and end" },
];

const FLAGS: readonly FlagShape[] = [...Object.values(OPTIONS), ...ACTIONS];
const BY_NAME = new Map(FLAGS.map((shape) => [shape.flag, shape]));
const BY_SHORT = new Map(
  FLAGS.flatMap((shape) => (shape.short === undefined ? [] : ([[shape.short, shape]] as const))),
);

/** Takes a command line apart as pflag does. Throws invalid with its sentences. */
export function parseFlags(args: readonly string[]): GivenFlags {
  const values = new Map<string, string[]>();
  const add = (shape: FlagShape, value: string) => {
    const given = values.get(shape.flag);
    if (given === undefined) values.set(shape.flag, [value]);
    else given.push(value);
  };
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg.startsWith("--") && arg.length > 2) {
      const equals = arg.indexOf("=");
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      const shape = BY_NAME.get(name);
      if (shape === undefined) throw refused(`unknown flag: --${name}`);
      if (equals >= 0) add(shape, arg.slice(equals + 1));
      else if (shape.isSwitch) add(shape, "true");
      else if (++i < args.length) add(shape, args[i]!);
      else throw refused(`flag needs an argument: --${name}`);
    } else if (arg.startsWith("-") && arg.length > 1 && arg !== "--") {
      i = shorts(arg, args, i, add);
    } else {
      throw refused(`"gantryd" accepts no arguments: ${arg}`);
    }
  }
  return { values };
}

/** Reads `-D`, `-lwarn`, `-l=warn`, `-l warn` and `-Dl warn`. The result is the index of the last argument used. */
function shorts(
  arg: string,
  args: readonly string[],
  at: number,
  add: (shape: FlagShape, value: string) => void,
): number {
  for (let k = 1; k < arg.length; k++) {
    const shape = BY_SHORT.get(arg[k]!);
    if (shape === undefined) throw refused(`unknown shorthand flag: '${arg[k]}' in ${arg}`);
    const rest = arg.slice(k + 1);
    if (rest.startsWith("=")) {
      add(shape, rest.slice(1));
      return at;
    }
    if (shape.isSwitch) {
      add(shape, "true");
      continue;
    }
    if (rest !== "") {
      add(shape, rest);
      return at;
    }
    const next = args[at + 1];
    if (next === undefined) throw refused(`flag needs an argument: '${arg[k]}' in ${arg}`);
    add(shape, next);
    return at + 1;
  }
  return at;
}

function refused(message: string): GantryError {
  return new GantryError("invalid", `${message}\nSee 'gantryd --help'.`);
}

/** `-D, --debug`, as refusals and the help name a flag. */
export function flagTitle(shape: { readonly flag: string; readonly short?: string }): string {
  return shape.short === undefined ? `--${shape.flag}` : `-${shape.short}, --${shape.flag}`;
}

export function helpText(): string {
  const rows = [...FLAGS].sort((a, b) => (a.flag < b.flag ? -1 : 1));
  const lines = rows.map((shape) => {
    const left = `${shape.short === undefined ? "    " : `-${shape.short}, `}--${shape.flag}${shape.isSwitch ? "" : " value"}`;
    return `  ${left.padEnd(36)} ${shape.help}`;
  });
  return `Usage:  gantryd [OPTIONS]\n        gantryd doctor [CHECK...] [--json] [--quiet] [OPTIONS]\n\nThe engine of Gantry, a container platform.\n\nOptions:\n${lines.join("\n")}\n`;
}

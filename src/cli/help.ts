import { isOlder } from "../client/client.ts";
import type { Command } from "./command.ts";
import { COMMANDS, type CommandRow, GROUPS, groupsIn } from "./commands.ts";
import type { FlagSpec } from "./flags/spec.ts";
import { flagUsages } from "./flags/usage.ts";

/** The width that help is wrapped to: the terminal's, else 80. */
function columns(): number {
  return (process.stdout.columns ?? 80) - 1;
}

/** The order of the commands that everybody needs, which is Docker's. */
const COMMON = ["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"];

interface Listed {
  readonly name: string;
  readonly short: string;
}

function sorted(rows: readonly Listed[]): readonly Listed[] {
  return [...rows].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function listing(rows: readonly Listed[]): string {
  const width = Math.max(11, ...rows.map(({ name }) => name.length));
  return rows.map((row) => `  ${row.name.padEnd(width)} ${row.short}\n`).join("");
}

export function rootHelp(globals: readonly FlagSpec[]): string {
  const direct = COMMANDS.filter((row) => row.shortcut !== undefined && !row.hidden).map((row) => ({
    name: row.shortcut ?? "",
    short: row.short,
    common: row.common,
  }));
  const order = (row: { readonly name: string }): number => COMMON.indexOf(row.name);
  const common = direct.filter((row) => row.common).sort((a, b) => order(a) - order(b));
  return [
    "Usage:  gantry [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n",
    `Common Commands:\n${listing(common)}`,
    `Management Commands:\n${listing(sorted(groupsIn("")))}`,
    `Commands:\n${listing(sorted(direct.filter((row) => !row.common)))}`,
    `Global Options:\n${flagUsages(globals, columns())}`,
    "Run 'gantry COMMAND --help' for more information on a command.\n",
  ].join("\n");
}

export function groupHelp(group: string): string {
  const short = GROUPS.find((row) => row.name === group)?.short ?? "";
  const rows = [...COMMANDS.filter((row) => row.group === group && !row.hidden), ...groupsIn(group)];
  return [
    `Usage:  gantry ${group} COMMAND\n\n${short}\n`,
    `Commands:\n${listing(sorted(rows))}`,
    `Run 'gantry ${group} COMMAND --help' for more information on a command.\n`,
  ].join("\n");
}

/** The help of a command, without the flags that an engine of this API version, where it is known, has not. */
export function commandHelp(name: string, row: CommandRow, command: Command, version?: string): string {
  const flags = command.flags.filter(
    (flag) => !flag.windows && !(version !== undefined && flag.since !== undefined && isOlder(version, flag.since)),
  );
  const parts = [`Usage:  ${usageLine(name, command)}\n\n${command.long ?? row.short}\n`];
  const aliases = [row.name, ...row.aliases].map((alias) => (row.group === "" ? alias : `${row.group} ${alias}`));
  if (row.shortcut !== undefined && row.group !== "") aliases.push(row.shortcut);
  if (aliases.length > 1) parts.push(`Aliases:\n  ${aliases.map((alias) => `gantry ${alias}`).join(", ")}\n`);
  if (flags.length > 0) parts.push(`Options:\n${flagUsages(flags, columns())}`);
  return parts.join("\n");
}

function usageLine(name: string, command: Command): string {
  return command.usage === "" ? name : `${name} ${command.usage}`;
}

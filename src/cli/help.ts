import type { Command } from "./command.ts";
import { COMMANDS, type CommandRow, GROUPS } from "./commands.ts";
import type { FlagSpec } from "./flags/spec.ts";
import { flagUsages } from "./flags/usage.ts";

/** The width that help is wrapped to: the terminal's, else 80. */
function columns(): number {
  return (process.stdout.columns ?? 80) - 1;
}

function listing(rows: readonly { readonly name: string; readonly short: string }[]): string {
  return [...rows]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((row) => `  ${row.name.padEnd(11)} ${row.short}\n`)
    .join("");
}

export function rootHelp(globals: readonly FlagSpec[]): string {
  const direct = COMMANDS.filter((row) => row.shortcut !== undefined).map((row) => ({
    name: row.shortcut ?? "",
    short: row.short,
    common: row.common,
  }));
  return [
    "Usage:  gantry [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n",
    `Common Commands:\n${listing(direct.filter((row) => row.common))}`,
    `Management Commands:\n${listing(GROUPS)}`,
    `Commands:\n${listing(direct.filter((row) => !row.common))}`,
    `Global Options:\n${flagUsages(globals, columns())}`,
    "Run 'gantry COMMAND --help' for more information on a command.\n",
  ].join("\n");
}

export function groupHelp(group: string): string {
  const short = GROUPS.find((row) => row.name === group)?.short ?? "";
  const rows = COMMANDS.filter((row) => row.group === group);
  return [
    `Usage:  gantry ${group} COMMAND\n\n${short}\n`,
    `Commands:\n${listing(rows)}`,
    `Run 'gantry ${group} COMMAND --help' for more information on a command.\n`,
  ].join("\n");
}

export function commandHelp(name: string, row: CommandRow, command: Command): string {
  const parts = [`Usage:  ${usageLine(name, command)}\n\n${command.long ?? row.short}\n`];
  const aliases = [row.name, ...row.aliases].map((alias) => (row.group === "" ? alias : `${row.group} ${alias}`));
  if (row.shortcut !== undefined && row.group !== "") aliases.push(row.shortcut);
  if (aliases.length > 1) parts.push(`Aliases:\n  ${aliases.map((alias) => `gantry ${alias}`).join(", ")}\n`);
  if (command.flags.length > 0) parts.push(`Options:\n${flagUsages(command.flags, columns())}`);
  return parts.join("\n");
}

function usageLine(name: string, command: Command): string {
  return command.usage === "" ? name : `${name} ${command.usage}`;
}

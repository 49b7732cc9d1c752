import { print } from "./print.ts";

/**
 * Asks before something is removed; true only for y or yes. Anything else, as the end of the input, is no failure: the
 * command ends with nothing done.
 */
export async function confirmed(warning: string, separator = "\n"): Promise<boolean> {
  print(`${warning}${separator}Are you sure you want to continue? [y/N] `);
  // Asked for here: as an import, the bundle would load it at the start of every command, for 2 ms.
  const { createInterface } = process.getBuiltinModule("node:readline");
  const lines = createInterface({ input: process.stdin, terminal: false });
  for await (const line of lines) {
    lines.close();
    return /^y(es)?$/i.test(line.trim());
  }
  return false;
}

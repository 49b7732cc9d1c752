import { closeSync, openSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { ExitError } from "../command.ts";
import { checkOutput } from "../copy/path.ts";
import { copyBody } from "./copy.ts";
import { isTerminal } from "./terminal.ts";

/** Refuses what an archive can't go to, before it is asked for: `--output`'s value, empty for standard output. */
export function checkTarget(output: string, what: "export container" | "export volume" | "save image"): void {
  if (output === "" && isTerminal(1)) {
    throw new ExitError(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
  }
  if (output === "") return;
  try {
    checkOutput(output);
  } catch (error) {
    throw new Error(`failed to ${what}: ${messageOf(error)}`);
  }
}

/** Writes an archive where it is to go. A file appears whole or not at all. */
export async function saveBody(body: AsyncIterable<Uint8Array>, output: string): Promise<void> {
  if (output === "") {
    await copyBody(body, false);
    return;
  }
  const temp = join(dirname(output), `.gantry-${process.pid}-${basename(output)}`);
  const fd = openSync(temp, "wx", 0o600);
  try {
    await copyBody(body, false, fd);
    renameSync(temp, output);
  } catch (error) {
    rmSync(temp, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

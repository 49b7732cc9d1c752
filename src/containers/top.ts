import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { TopResponse } from "../api/container.ts";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";

const run = promisify(execFile);

/**
 * What `ps` on the host says of these processes. `psArgs` are ps's own, default `-ef`; the output must have a PID
 * column, which is how the host's other processes are left out.
 */
export async function listProcesses(pids: ReadonlySet<number>, psArgs: string): Promise<TopResponse> {
  const args = psArgs.trim() === "" ? ["-ef"] : psArgs.trim().split(/\s+/);
  for (const arg of args) {
    if (/[\s\0]/.test(arg)) throw new GantryError("invalid", `bad argument to ps: ${arg}`);
  }
  let output: string;
  try {
    output = (await run("/bin/ps", args, { timeout: 5000, maxBuffer: 16 * 1024 * 1024, env: { LC_ALL: "C" } })).stdout;
  } catch (error) {
    if (hasCode(error, "ENOENT")) {
      throw new GantryError("unsupported", "cannot list processes: the host has no ps; install the package procps");
    }
    // The first line that ps says, as Docker passes it on; else how it ended.
    const { stderr = "", code } = error as { stderr?: string; code?: unknown };
    const said = stderr.trim().split("\n")[0] ?? "";
    const ending = typeof code === "number" ? `exit status ${code}` : messageOf(error);
    throw new GantryError("invalid", `ps: ${said === "" ? ending : said}`);
  }
  return parsePs(output, pids);
}

/** Splits ps's table; the last column takes what is left of a line. */
export function parsePs(output: string, pids: ReadonlySet<number>): TopResponse {
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  const titles = fields(lines[0] ?? "", Number.POSITIVE_INFINITY);
  const pidColumn = titles.indexOf("PID");
  if (pidColumn < 0) throw new GantryError("invalid", "Couldn't find PID field in ps output");
  const rows: string[][] = [];
  let lastWasOurs = false;
  for (const line of lines.slice(1)) {
    const row = fields(line, titles.length);
    const pid = Number(row[pidColumn]);
    // `ps -m` prints a process's threads below it, with a dash for the pid.
    const ours: boolean = row[pidColumn] === "-" ? lastWasOurs : pids.has(pid);
    if (ours) rows.push(row);
    lastWasOurs = ours;
  }
  return { Titles: titles, Processes: rows };
}

function fields(line: string, count: number): string[] {
  const words = line.trim().split(/\s+/);
  if (words.length <= count) return words;
  return [...words.slice(0, count - 1), words.slice(count - 1).join(" ")];
}

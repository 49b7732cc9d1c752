import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileResult, TestResult } from "./result.ts";

/** Enough for any failure's story; a test that prints without end must not fill the runner's memory. */
const OUTPUT_LIMIT = 4 << 20;
const GRACE_MS = 10_000;
const PIPE_GRACE_MS = 1_000;

const running = new Set<ChildProcess>();

/** Ends the test files under way, each with the processes of its group. */
export function killRunning(): void {
  for (const child of running) signalGroup(child, "SIGKILL");
}

/**
 * Runs one test file in a process group of its own. A file that dies, times out or fails outside any test is itself a
 * failed test, after the results it had brought until then.
 */
export async function runTestFile(
  file: string,
  options: { readonly timeoutMs: number; readonly env: NodeJS.ProcessEnv },
): Promise<FileResult> {
  const folder = mkdtempSync(join(tmpdir(), "gantry-results-"));
  const results = join(folder, "results.jsonl");
  const began = Date.now();
  const reporter = new URL("./reporter.ts", import.meta.url).href;
  const flags = ["--disable-warning=ExperimentalWarning", `--test-reporter=${reporter}`, file];
  try {
    const end = await runGroup(process.execPath, flags, {
      timeoutMs: options.timeoutMs,
      env: { ...options.env, GANTRY_TEST_RESULTS: results },
    });
    const rows = readResults(results);
    if (end.trouble !== undefined && (end.timedOut || !rows.some((row) => row.outcome === "failed"))) {
      rows.push({ name: file, outcome: "failed", error: end.trouble });
    } else if (rows.length === 0) {
      rows.push({ name: file, outcome: "failed", error: "the file holds no test" });
    }
    return { file, results: rows, output: end.output, seconds: (Date.now() - began) / 1000 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface GroupEnd {
  /** All output, standard error mixed in where it came. */
  readonly output: string;
  readonly code: number | null;
  readonly timedOut: boolean;
  /** How it ended, if not with 0. */
  readonly trouble: string | undefined;
}

/** Runs a program as the leader of its own process group, and kills the group when its time is over. */
export async function runGroup(
  program: string,
  args: readonly string[],
  options: { readonly timeoutMs: number; readonly env?: NodeJS.ProcessEnv },
): Promise<GroupEnd> {
  const child = spawn(program, args, { env: options.env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  running.add(child);
  const chunks: Buffer[] = [];
  let size = 0;
  const keep = (chunk: Buffer): void => {
    chunks.push(chunk);
    size += chunk.length;
    while (size > OUTPUT_LIMIT && chunks.length > 1) size -= chunks.shift()?.length ?? 0;
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  let timedOut = false;
  let lastResort: NodeJS.Timeout | undefined;
  const timer = setTimeout(() => {
    timedOut = true;
    signalGroup(child, "SIGTERM");
    lastResort = setTimeout(() => signalGroup(child, "SIGKILL"), GRACE_MS);
  }, options.timeoutMs);
  const { code, signal, error } = await ended(child);
  clearTimeout(timer);
  clearTimeout(lastResort);
  running.delete(child);
  const trouble =
    error !== undefined
      ? `cannot start ${program}: ${error.message}`
      : timedOut
        ? `did not end within ${options.timeoutMs / 1000} s and was killed`
        : signal !== null
          ? `was killed by ${signal}`
          : code !== 0
            ? `ended with exit code ${code}`
            : undefined;
  return { output: Buffer.concat(chunks).toString(), code, timedOut, trouble };
}

function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null; error?: Error }> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve({ code: null, signal: null, error }));
    child.once("exit", (code, signal) => {
      // What a test left running in its group would hold the pipes open, and ports of the next test.
      signalGroup(child, "SIGKILL");
      child.once("close", () => resolve({ code, signal }));
      // A process that left the group may hold the pipes all the same; it must not hold the runner.
      setTimeout(() => resolve({ code, signal }), PIPE_GRACE_MS).unref();
    });
  });
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group is gone: what was wanted.
  }
}

function readResults(path: string): TestResult[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return [];
  }
  const rows = text
    .split("\n")
    .filter((line) => line.endsWith("}"))
    .map((line) => JSON.parse(line) as TestResult & { readonly onlyBecauseOfChildren: boolean });
  return rows.filter((row) => !row.onlyBecauseOfChildren);
}

// Runs the tests and prints what a person wants to know: a line for each file, every failure in full at the end, and
// last of all the counts. `npm test -- src/oci` runs what lies below src/oci; `--checks` runs the static checks alone.
import { randomBytes } from "node:crypto";
import { existsSync, globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { setTimeout } from "node:timers/promises";
import { parseArgs, styleText } from "node:util";
import { removeAbandonedRoots } from "../test/leftovers.ts";
import { runChecks } from "./testing/checks.ts";
import { compareMachine, markedProcesses, observeMachine } from "./testing/machine.ts";
import type { FileResult } from "./testing/result.ts";
import { killRunning, runTestFile } from "./testing/test-file.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    checks: { type: "boolean", default: false },
    "no-checks": { type: "boolean", default: false },
    /** Others work on this machine at the same time: print how it changed, but don't call it a failure. */
    "shared-machine": { type: "boolean", default: process.env.GANTRY_TEST_SHARED_MACHINE === "1" },
    "timeout-s": { type: "string", default: "300" },
    /** How often a file may fail before it counts: what fails once and then, by itself, does not, is told of. */
    tries: { type: "string", default: "2" },
    width: { type: "string", default: String(Math.min(2, availableParallelism())) },
  },
});

const run = `GANTRY_TEST_RUN=${randomBytes(8).toString("hex")}`;
const [runName, runValue] = run.split("=") as [string, string];
const env = { ...process.env, [runName]: runValue, NODE_COMPILE_CACHE: undefined };
delete env.NODE_COMPILE_CACHE;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    killRunning();
    endMarked();
    removeAbandonedRoots();
    console.log(`stopped by ${signal}`);
    process.exit(1);
  });
}

for (const root of removeAbandonedRoots()) console.log(`removed ${root}, left by a former run`);

/** The kernel takes namespaces down, and links with them, when nobody waits for it any more. */
const SETTLED_MS = 10_000;

const all: FileResult[] = [];
const unsteady: FileResult[] = [];
const partial = positionals.length > 0;
if (!values.checks) {
  const files = testFiles(positionals);
  const before = observeMachine();
  const runFile = async (file: string): Promise<FileResult> => {
    const result = await runTestFile(file, { timeoutMs: Number(values["timeout-s"]) * 1000, env });
    printLine(result);
    return result;
  };
  await eachOf(files, Number(values.width), async (file) => void all.push(await runFile(file)));
  for (let tried = 1; tried < Number(values.tries); tried++) await repeatFailed(runFile);
  all.push(await checkMachine(before));
}
if (values.checks || (!partial && !values["no-checks"])) all.push(...(await runChecks(printLine)));
process.exitCode = summarise(all);

/** Test files, end-to-end ones last: a broken part should be told by its own test first. */
function testFiles(wanted: readonly string[]): string[] {
  for (const path of wanted) {
    if (!existsSync(path)) throw new Error(`there is no ${path} to test`);
  }
  const files = [...globSync("src/**/*.test.ts").sort(), ...globSync("{test,scripts}/**/*.test.ts").sort()];
  const chosen = files.filter((file) => {
    return (
      wanted.length === 0 || wanted.some((path) => file === path || file.startsWith(`${path.replace(/\/+$/, "")}/`))
    );
  });
  if (chosen.length === 0) throw new Error(`no test file lies below ${wanted.join(" ") || "src and test"}`);
  return chosen;
}

async function eachOf(files: readonly string[], width: number, act: (file: string) => Promise<void>): Promise<void> {
  const waiting = [...files];
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await act(file);
  };
  await Promise.all(Array.from({ length: Math.max(1, width) }, worker));
}

/** Runs what failed once more, with nothing beside it. */
async function repeatFailed(runFile: (file: string) => Promise<FileResult>): Promise<void> {
  for (const [at, result] of all.entries()) {
    if (!hasFailed(result)) continue;
    console.log(`again ${result.file}`);
    const second = await runFile(result.file);
    if (hasFailed(second)) continue;
    all[at] = second;
    unsteady.push(result);
  }
}

function hasFailed(result: FileResult): boolean {
  return result.results.some((row) => row.outcome === "failed");
}

async function checkMachine(before: ReturnType<typeof observeMachine>): Promise<FileResult> {
  const name = "the machine is as it was before the tests";
  const processes = endMarked();
  const removed = removeAbandonedRoots().map((root) => `left behind: test engine ${root}`);
  const deadline = Date.now() + SETTLED_MS;
  let others = compareMachine(before, observeMachine());
  while (others.length > 0 && Date.now() < deadline) {
    await setTimeout(200);
    others = compareMachine(before, observeMachine());
  }
  const changes = [...processes, ...removed, ...others];
  // A process with this run's mark and an abandoned root are this run's doing on any machine.
  const own = values["shared-machine"] ? [...processes, ...removed] : changes;
  const result: FileResult = {
    file: name,
    results: [{ name, outcome: own.length === 0 ? "passed" : "failed", error: own.join("\n") || undefined }],
    output: own.length === 0 ? "" : changes.join("\n"),
    seconds: 0,
  };
  printLine(result);
  if (own.length === 0) for (const change of changes) console.log(`      ${change}`);
  return result;
}

function endMarked(): string[] {
  return markedProcesses(run).map(({ pid, command }) => {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended while we looked.
    }
    return `left behind: process ${pid} ${command}`;
  });
}

function printLine(result: FileResult): void {
  const failed = result.results.filter((row) => row.outcome === "failed").length;
  const mark = failed > 0 ? styleText("red", "FAIL") : styleText("green", "ok  ");
  const passed = result.results.filter((row) => row.outcome === "passed").length;
  console.log(`${mark}  ${result.file}  ${passed} of ${result.results.length}  ${result.seconds.toFixed(1)} s`);
  // The whole story comes at the end; whoever sees only a part of the output is to know what it was, too.
  for (const row of result.results) {
    if (row.outcome === "failed") console.log(`      ${row.name}: ${(row.error ?? "").split("\n", 3).join(" ")}`);
  }
}

function summarise(files: readonly FileResult[]): number {
  const rows = files.flatMap((file) => file.results.map((row) => ({ ...row, file: file.file })));
  const skipped = rows.filter((row) => row.outcome === "skipped");
  for (const row of skipped) console.log(`skipped  ${row.file}: ${row.name}: ${row.reason ?? "no reason given"}`);
  for (const file of unsteady) printFailures("FAILED, but not when it ran again by itself:", file);
  for (const file of files.filter(hasFailed)) printFailures("FAILED", file);
  const count = (outcome: string): number => rows.filter((row) => row.outcome === outcome).length;
  console.log(`\n${count("passed")} passed, ${count("failed")} failed, ${skipped.length} skipped`);
  return count("failed") === 0 ? 0 : 1;
}

function printFailures(heading: string, { file, results, output }: FileResult): void {
  console.log(`\n${styleText("red", heading)} ${file}`);
  for (const { name, outcome, error } of results) {
    if (outcome === "failed") console.log(`  ${name}\n${(error ?? "").replaceAll(/^/gm, "    ")}`);
  }
  if (output.trim() !== "") console.log(`  what it printed:\n${output.trimEnd().replaceAll(/^/gm, "    | ")}`);
}

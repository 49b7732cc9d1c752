import { existsSync } from "node:fs";
import type { FileResult } from "./result.ts";
import { runGroup } from "./test-file.ts";

interface Check {
  readonly name: string;
  readonly args: readonly string[];
  /** A sentence if an exit code of 0 is not to be believed. */
  readonly doubt?: (output: string) => string | undefined;
}

const BIN = "node_modules/.bin";

/** A layer check that read (almost) nothing passes just as well: TypeScript 7 made this one do so. */
const LEAST_MODULES = 20;

const CHECKS: readonly Check[] = [
  { name: "the types fit (tsc)", args: [`${BIN}/tsc`, "--noEmit", "-p", "."] },
  {
    name: "the schemas of answers are what the types say",
    args: ["scripts/schemas.ts", "--check"],
  },
  { name: "format and lint rules hold (biome)", args: [`${BIN}/biome`, "check", "."] },
  {
    name: "no promise floats (oxlint)",
    args: [`${BIN}/oxlint`, "--type-aware", "src", "test", "scripts"],
  },
  {
    name: "folders import only what their layer may (dependency-cruiser)",
    args: [`${BIN}/depcruise`, "--config", ".dependency-cruiser.mjs", "src"],
    doubt: (output) => {
      const count = Number(/\((\d+) modules/.exec(output)?.[1] ?? 0);
      return count < LEAST_MODULES ? `it read only ${count} modules: check that it can read TypeScript` : undefined;
    },
  },
];

/** The checks that read the source without running it, each as a test of its own. */
export async function runChecks(onDone: (result: FileResult) => void): Promise<FileResult[]> {
  const all: FileResult[] = [];
  for (const check of CHECKS) {
    const began = Date.now();
    const end = await runGroup(process.execPath, nodeProgram(check.args), { timeoutMs: 300_000, env: process.env });
    const error = end.trouble ?? check.doubt?.(end.output);
    const result: FileResult = {
      file: check.name,
      results: [{ name: check.name, outcome: error === undefined ? "passed" : "failed", error }],
      output: end.output,
      seconds: (Date.now() - began) / 1000,
    };
    all.push(result);
    onDone(result);
  }
  return all;
}

/** The tools' bin entries are scripts for Node: run by the pinned one, not by whatever `env node` finds. */
function nodeProgram(args: readonly string[]): readonly string[] {
  if (!existsSync(args[0] ?? "")) throw new Error(`${args[0]} is missing: run 'npm run setup'`);
  return args;
}

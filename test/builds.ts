import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Finished } from "./command.ts";
import type { TestEngine } from "./engine.ts";

export interface BuildOptions {
  /** Files of the context by their paths; none is an empty one. */
  readonly files?: Readonly<Record<string, string>>;
  /** Symbolic links of the context: what each leads to. */
  readonly links?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Default: the docker CLI as it speaks the classic protocol. */
  readonly program?: string;
  readonly timeoutMs?: number;
}

/** Builds a Dockerfile through a stock client. */
export function build(engine: TestEngine, dockerfile: string, options: BuildOptions = {}): Promise<Finished> {
  const { files = {}, links = {}, args = [], env = {}, program = "docker", timeoutMs = 120_000 } = options;
  const context = mkdtempSync(join(engine.root, "context-"));
  for (const [path, text] of Object.entries({ ...files, Dockerfile: dockerfile })) {
    mkdirSync(dirname(join(context, path)), { recursive: true });
    writeFileSync(join(context, path), text);
  }
  for (const [path, target] of Object.entries(links)) symlinkSync(target, join(context, path));
  const buildkit = { DOCKER_BUILDKIT: program === "docker" ? "0" : "1" };
  return engine.run(program, ["build", ...args, context], { env: { ...buildkit, ...env }, timeoutMs });
}

/** What a build that must succeed printed on standard output. */
export async function built(engine: TestEngine, dockerfile: string, options: BuildOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await build(engine, dockerfile, options);
  if (code !== 0) throw new Error(`the build ended with ${code}: ${stderr}${stdout}${engine.log}`);
  return stdout;
}

/** Pids of the processes that were started with exactly these arguments. */
export function processesWith(...args: readonly string[]): string[] {
  try {
    return execFileSync("pgrep", ["-fx", args.join(" ")], { encoding: "utf8" })
      .trim()
      .split("\n");
  } catch {
    return [];
  }
}

import { spawn } from "node:child_process";
import { cancelled } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";

const MOST_OUTPUT = 8 << 20;
const MOST_COMPLAINT = 4096;

/** How git runs: what it may talk to and as whom. Nothing of the machine's or a person's configuration counts. */
export interface GitSurroundings {
  /** A folder for what it takes for a home: empty. */
  readonly home: string;
  /** Settings, told by its environment: they are in no command line. */
  readonly config: readonly (readonly [key: string, value: string])[];
  readonly env: Readonly<Record<string, string>>;
  /** Protocols, with colons in between. */
  readonly protocols: string;
  /** What must not be told to anybody. */
  readonly secrets: readonly string[];
}

/** Settings of every run: no hooks, no helpers, no clean-up of its own. */
const CONFIG: readonly (readonly [string, string])[] = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsmonitor", "false"],
  ["core.askPass", ""],
  ["core.autocrlf", "false"],
  ["credential.helper", ""],
  ["gc.auto", "0"],
  ["maintenance.auto", "false"],
  ["fetch.recurseSubmodules", "false"],
  ["advice.detachedHead", "false"],
  ["init.defaultBranch", "main"],
  ["http.lowSpeedLimit", "1"],
  ["http.lowSpeedTime", "60"],
  // A repository of another owner's is this engine's own folder.
  ["safe.directory", "*"],
];

/**
 * Runs git with these arguments in a folder; resolves with what it prints. An abort ends it and all that it started.
 * What it complains of is told, without secrets.
 */
export async function git(
  args: readonly string[],
  cwd: string,
  surroundings: GitSurroundings,
  signal: AbortSignal,
): Promise<string> {
  if (signal.aborted) throw cancelled();
  // One mask for all machines: a checkout's modes depend on it.
  const child = spawn("/bin/sh", ["-c", 'umask 022; exec git "$@"', "git", ...args], {
    cwd,
    env: environment(surroundings),
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const end = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  };
  signal.addEventListener("abort", end, { once: true });
  const output: Buffer[] = [];
  let length = 0;
  child.stdout.on("data", (piece: Buffer) => {
    length += piece.length;
    if (length > MOST_OUTPUT) end();
    else output.push(piece);
  });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-MOST_COMPLAINT);
  });
  child.once("error", reject);
  child.once("close", (code) => {
    if (signal.aborted) reject(cancelled());
    else if (code === 0) resolve(Buffer.concat(output).toString("utf8"));
    else
      reject(new GitError(args.find((word) => !word.startsWith("-")) ?? "", hushed(complaint, surroundings.secrets)));
  });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", end);
    end();
  }
}

/** Git's own refusal. */
export class GitError extends GantryError {
  constructor(command: string, complaint: string) {
    const why = complaint.trim().replace(/\s*\n\s*/g, "; ");
    super("invalid", `git ${command} failed: ${why === "" ? "it says nothing about why" : why}`);
    this.name = "GitError";
  }
}

function environment({ config, env, home, protocols }: GitSurroundings): NodeJS.ProcessEnv {
  const all = [...CONFIG, ...config];
  const told = all.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  return {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: home,
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ALLOW_PROTOCOL: protocols,
    GIT_CONFIG_COUNT: String(all.length),
    ...(Object.fromEntries(told) as Record<string, string>),
    ...env,
  };
}

function hushed(text: string, secrets: readonly string[]): string {
  let plain = text.replace(/([a-z]+:\/\/)[^/@\s]*@/gi, "$1");
  for (const secret of secrets) if (secret !== "") plain = plain.replaceAll(secret, "xxxxx");
  return plain;
}

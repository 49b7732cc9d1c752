import { readdirSync, readFileSync } from "node:fs";
import * as v from "valibot";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import type { ProcessExit } from "../process.ts";

/** What is on disk under the exec root, from which a restarted supervisor goes on. */

const runtime = v.object({ name: v.string(), path: v.string(), args: v.pipe(v.array(v.string()), v.readonly()) });
// JSON has no Infinity: an unlimited size comes as null.
const log = v.object({
  path: v.string(),
  maxSize: v.nullable(v.number()),
  maxFiles: v.number(),
  json: v.optional(v.object({ attributes: v.record(v.string(), v.string()) })),
  compress: v.optional(v.boolean()),
});
const cgroup = v.object({
  folders: v.pipe(v.array(v.string()), v.readonly()),
  unified: v.optional(v.string()),
  freezer: v.optional(v.string()),
  memory: v.optional(v.string()),
});

const containerState = v.object({
  id: v.string(),
  bundle: v.string(),
  runtime,
  terminal: v.boolean(),
  openStdin: v.boolean(),
  stdinOnce: v.boolean(),
  log: v.optional(log),
  /** Missing until the runtime has made the jail. */
  pid: v.optional(v.number()),
  startTime: v.optional(v.number()),
  cgroup: v.optional(cgroup),
  started: v.boolean(),
  /** A crun whose start and delete we do ourselves. */
  knownCrun: v.boolean(),
});
export type ContainerState = v.InferOutput<typeof containerState>;

const execState = v.object({
  execId: v.string(),
  terminal: v.boolean(),
  openStdin: v.boolean(),
  /** The process inside, which signals are for; missing until it runs. */
  pid: v.optional(v.number()),
  pidStartTime: v.optional(v.number()),
  /** The runtime that waits for it, whose exit is its exit. */
  runtimePid: v.number(),
  runtimeStartTime: v.number(),
  /** Unix milliseconds at which it is killed; missing without a limit, and until it runs. */
  deadline: v.optional(v.number()),
});
export type ExecState = v.InferOutput<typeof execState>;

const exit = v.object({
  id: v.string(),
  execId: v.optional(v.string()),
  code: v.optional(v.number()),
  at: v.number(),
  oomKilled: v.boolean(),
  timedOut: v.optional(v.boolean()),
});

export function containersFolder(execRoot: string): string {
  return `${execRoot}/containers`;
}

export function containerFolder(execRoot: string, id: string): string {
  return `${containersFolder(execRoot)}/${id}`;
}

export function execFolder(execRoot: string, id: string, execId: string): string {
  return `${containerFolder(execRoot, id)}/execs/${execId}`;
}

export function writeState(folder: string, state: ContainerState | ExecState): void {
  writeFileAtomic(`${folder}/state.json`, JSON.stringify(state), { durable: false });
}

export function readContainerState(folder: string): ContainerState | undefined {
  return readJson(`${folder}/state.json`, containerState);
}

export function readExecState(folder: string): ExecState | undefined {
  return readJson(`${folder}/state.json`, execState);
}

export function writeExit(folder: string, value: ProcessExit): void {
  writeFileAtomic(`${folder}/exit.json`, JSON.stringify(value), { durable: false });
}

export function readExit(folder: string): ProcessExit | undefined {
  const found = readJson(`${folder}/exit.json`, exit);
  return found === undefined ? undefined : { ...found, execId: found.execId, code: found.code };
}

/** The pid that a runtime wrote; undefined while it has not. */
export function readPid(path: string): number | undefined {
  const text = readText(path);
  return /^\d+\s*$/.test(text) ? Number(text) : undefined;
}

export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readJson<T extends v.GenericSchema>(path: string, schema: T): v.InferOutput<T> | undefined {
  try {
    const result = v.safeParse(schema, JSON.parse(readFileSync(path, "utf8")));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isBoundOnItself, listMounts } from "../../src/kernel/mount-table.ts";

/** The engine that `npm start` runs for the whole machine: gantryd's own defaults. */
export const CHECKOUT = fileURLToPath(new URL("../..", import.meta.url));
const DATA_ROOT = "/var/lib/gantry";
export const EXEC_ROOT = "/run/gantry";
export const SOCKET = `${EXEC_ROOT}/gantry.sock`;
export const LOG = "/var/log/gantry/gantryd.log";

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** One request to the engine; rejects if nobody answers on its socket. */
export function ask(method: string, path: string): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const call = httpRequest({ socketPath: SOCKET, method, path, agent: false }, (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.once("error", reject);
    response.once("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
  });
  call.once("error", reject);
  call.end();
  return promise;
}

export async function answers(): Promise<boolean> {
  try {
    return (await ask("GET", "/_ping")).status === 200;
  } catch {
    return false;
  }
}

/** Resolves when `holds` does; false if it didn't within the time. */
export async function until(holds: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) return false;
    await after(10);
  }
  return true;
}

/** The engine's pid, if its pidfile names a process that is one. */
export function enginePid(): number | undefined {
  const pid = Number(read(join(EXEC_ROOT, "gantryd.pid")).trim());
  return pid > 0 && isEngine(pid) ? pid : undefined;
}

export function isEngine(pid: number): boolean {
  return /engine\/main\.(js|ts)/.test(read(`/proc/${pid}/cmdline`));
}

/** Names of what an engine makes in the kernel, outside of its folders. */
export interface KernelNames {
  readonly links: readonly string[];
  /** Family and name. */
  readonly tables: readonly string[];
  /** Folders, one in each hierarchy. */
  readonly cgroups: readonly string[];
}

/** What the engine with our data root has in the kernel, or may have: its table and cgroups are named by its id. */
export async function kernelNames(): Promise<KernelNames> {
  const id = read(join(DATA_ROOT, "engine-id")).slice(0, 8);
  if (id === "") return { links: [], tables: [], cgroups: [] };
  const tables = nft("list", "tables")
    .split("\n")
    .map((line) => line.replace(/^table /, ""))
    .filter((name) => name.endsWith(` gantry-${id}`));
  const cgroups = mountPoints((type) => type.startsWith("cgroup")).map((path) => `${path}/gantry-${id}`);
  const bridge = await bridgeName();
  return { links: bridge === undefined ? [] : [bridge], tables, cgroups };
}

/** Known to a running engine only. */
async function bridgeName(): Promise<string | undefined> {
  if (!(await answers())) return undefined;
  const network = JSON.parse((await ask("GET", "/networks/bridge")).text) as { Options?: Record<string, string> };
  return network.Options?.["com.docker.network.bridge.name"];
}

/** What is still there of an engine that should be gone, a phrase each. */
export function remains(names: KernelNames): string[] {
  return [
    ...processes().map((pid) => `process ${pid}: ${read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim()}`),
    ...ownMounts().map((path) => `mount ${path}`),
    ...names.links.filter((name) => existsSync(`/sys/class/net/${name}`)).map((name) => `network interface ${name}`),
    ...names.tables
      .filter((name) => nft("list", "table", ...name.split(" ")) !== "")
      .map((name) => `nftables table ${name}`),
    ...names.cgroups.filter((path) => existsSync(path)).map((path) => `cgroup ${path}`),
  ];
}

/** Engines and supervisors of the exec root. */
function processes(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const args = read(`/proc/${pid}/cmdline`).split("\0");
      return args.some((arg) => /runtime\/supervisor\/main\.(js|ts)$/.test(arg)) && args.includes(EXEC_ROOT);
    })
    .concat(enginePid() ?? []);
}

/** A file system or a folder that somebody mounted in the place of a root is none of the engine's. */
function ownMounts(): string[] {
  return [DATA_ROOT, EXEC_ROOT].flatMap((root) =>
    listMounts(root)
      .map(({ target }) => target)
      .filter((target) => target !== root || isBoundOnItself(root)),
  );
}

function mountPoints(hasType: (type: string) => boolean): string[] {
  return read("/proc/self/mountinfo")
    .split("\n")
    .filter((line) => hasType(line.split(" - ")[1]?.split(" ")[0] ?? ""))
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path !== "");
}

function nft(...args: readonly string[]): string {
  try {
    return execFileSync("nft", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    // The program or the table isn't there.
    return "";
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Ends the script with one sentence. */
export function fail(sentence: string): never {
  console.error(`gantry: ${sentence}`);
  process.exit(1);
}

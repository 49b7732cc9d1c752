import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { spawnProcess, tryWait } from "../../src/kernel/process.ts";
import { findProgram, finish } from "../../test/command.ts";
import { mountsBelow } from "../../test/leftovers.ts";

/** How often a command is looked at whether it has ended: a hundredth of the shortest. */
const LOOK_MS = 0.1;
const READY_MS = 60_000;
const END_MS = 30_000;

interface PeerKind {
  readonly name: "gantry" | "docker";
  readonly cli: string;
  /** Program and arguments of the daemon with these roots. */
  daemon(root: string, socket: string): readonly string[];
}

/** A container engine under measurement: own roots, own socket, own network namespace, driven by its own CLI. */
export class Peer implements AsyncDisposable {
  readonly name: string;
  readonly cli: string;
  readonly root: string;
  readonly socket: string;
  readonly env: NodeJS.ProcessEnv;
  readonly agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #process: ChildProcess;
  readonly #beside = new AsyncDisposableStack();

  constructor(kind: PeerKind) {
    this.name = kind.name;
    this.cli = kind.cli;
    this.root = mkdtempSync("/tmp/gantry-bench-");
    this.socket = join(this.root, "engine.sock");
    const host = `unix://${this.socket}`;
    this.env = { ...process.env, DOCKER_HOST: host, GANTRY_HOST: host, DOCKER_CONFIG: join(this.root, "config") };
    mkdirSync(join(this.root, "config"));
    writeFileSync(join(this.root, "daemon.json"), "{}\n");
    const log = openSync(join(this.root, "log"), "a");
    // Bridges, addresses and packet filter rules lie in a namespace of the peer's own and vanish with it.
    const script = 'ip link set lo up && exec "$@"';
    const command = ["--net", "sh", "-c", script, "sh", ...kind.daemon(this.root, this.socket)];
    this.#process = spawn("unshare", command, { stdio: ["ignore", log, log] });
    closeSync(log);
  }

  /** Of the engine, whose network namespace is the peer's own. */
  get pid(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error(`${this.name} does not run`);
    return pid;
  }

  /** What is to be ended with the peer, such as a program that serves it. */
  defer(end: () => Promise<unknown>): void {
    this.#beside.defer(async () => {
      await end();
    });
  }

  async ready(): Promise<void> {
    const deadline = Date.now() + READY_MS;
    while (!(await this.#answers())) {
      if (this.#process.exitCode !== null || Date.now() > deadline) {
        const log = readFileSync(join(this.root, "log"), "utf8").split("\n").slice(-15).join("\n");
        throw new Error(`${this.name} does not answer; the end of its log:\n${log}`);
      }
      await after(20);
    }
  }

  /**
   * Runs the peer's CLI with these arguments `count` times at once; each must end with 0. Milliseconds until the last
   * has ended. By posix_spawn, and waiting in place: child_process would first copy the bench's own memory, for longer
   * than some commands take. `how` takes another program of the same language, and more environment.
   */
  time(
    args: readonly string[],
    count = 1,
    how: { readonly cli?: string; readonly env?: NodeJS.ProcessEnv } = {},
  ): number {
    const nothing = openSync("/dev/null", "r+");
    const words = openSync(join(this.root, "words"), "w+");
    try {
      const given = { ...this.env, ...how.env };
      const env = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
      const cli = how.cli ?? this.cli;
      const request = { file: cli, args: [cli, ...args], env: env as Record<string, string>, cwd: "/" };
      const began = process.hrtime.bigint();
      const pids = Array.from({ length: count }, () => spawnProcess({ ...request, stdio: [nothing, nothing, words] }));
      const codes = pids.map(ended);
      const ms = Number(process.hrtime.bigint() - began) / 1e6;
      if (codes.some((code) => code !== 0)) {
        const said = readFileSync(join(this.root, "words"), "utf8");
        throw new Error(`${this.name} ${args.join(" ")}: exit codes ${[...new Set(codes)].join(", ")}: ${said}`);
      }
      return ms;
    } finally {
      closeSync(nothing);
      closeSync(words);
    }
  }

  async output(...args: readonly string[]): Promise<string> {
    const end = await finish(this.cli, args, { env: this.env, timeoutMs: 300_000 });
    if (end.code !== 0) throw new Error(`${this.name} ${args.join(" ")}: exit code ${end.code}: ${end.stderr}`);
    return end.stdout.trim();
  }

  /** Starts the peer's CLI with these arguments and ends it when the result is disposed of. */
  background(...args: readonly string[]): AsyncDisposable {
    const child = spawn(this.cli, args, { env: this.env, stdio: "ignore" });
    const exit = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    return {
      [Symbol.asyncDispose]: async () => {
        child.kill("SIGKILL");
        await exit;
      },
    };
  }

  /**
   * One request over the one kept connection, with a body of JSON or the bytes of an archive; `fresh` takes a
   * connection of its own, for what hijacks.
   */
  call(method: string, path: string, body?: object, fresh = false): Promise<{ status: number; text: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
    const isArchive = Buffer.isBuffer(body);
    const payload = body === undefined ? undefined : isArchive ? body : JSON.stringify(body);
    const type = isArchive ? "application/x-tar" : "application/json";
    const headers = payload === undefined ? {} : { "Content-Type": type, "Content-Length": Buffer.byteLength(payload) };
    const agent = fresh ? false : this.agent;
    const call = httpRequest({ socketPath: this.socket, method, path, headers, agent }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.once("error", reject);
      response.once("end", () => {
        const status = response.statusCode ?? 0;
        if (status >= 400) reject(new Error(`${this.name} ${method} ${path}: ${status} ${text}`));
        else resolve({ status, text });
      });
    });
    call.once("error", reject);
    call.end(payload);
    return promise;
  }

  async removeContainers(): Promise<void> {
    const ids = (await this.output("ps", "-aq")).split("\n").filter((id) => id !== "");
    if (ids.length > 0) await this.output("rm", "-f", ...ids);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.agent.destroy();
    try {
      // An engine that never answered has none, and must not hide why.
      if (await this.#answers()) await this.removeContainers();
      await this.#beside.disposeAsync();
    } finally {
      const { exitCode, signalCode } = this.#process;
      if (exitCode === null && signalCode === null) {
        const exit = new Promise<void>((resolve) => this.#process.once("exit", () => resolve()));
        this.#process.kill("SIGTERM");
        const timer = setTimeout(() => this.#process.kill("SIGKILL"), END_MS);
        await exit;
        clearTimeout(timer);
      }
      for (const path of mountsBelow(this.root)) await finish("umount", ["-l", path]);
      rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  async #answers(): Promise<boolean> {
    try {
      return existsSync(this.socket) && (await this.call("GET", "/_ping")).status === 200;
    } catch {
      return false;
    }
  }
}

export function gantryKind(checkout: string): PeerKind {
  return {
    name: "gantry",
    cli: join(checkout, "dist/gantry"),
    daemon: (root, socket) => [
      join(checkout, "bin/gantryd"),
      ...["--data-root", join(root, "data"), "--exec-root", join(root, "exec")],
      ...["-H", `unix://${socket}`, "--config-file", join(root, "daemon.json")],
      // It concerns images with tables of contents alone, of which one measure has one.
      "--lazy-pull",
    ],
  };
}

/** undefined if Docker is not installed. */
export function dockerKind(): PeerKind | undefined {
  const cli = findProgram("docker");
  const daemon = findProgram("dockerd") ?? (existsSync("/usr/sbin/dockerd") ? "/usr/sbin/dockerd" : undefined);
  if (cli === undefined || daemon === undefined) return undefined;
  return {
    name: "docker",
    cli,
    daemon: (root, socket) => [
      daemon,
      ...["--data-root", join(root, "data"), "--exec-root", join(root, "exec"), "--pidfile", join(root, "pid")],
      ...["-H", `unix://${socket}`, "--config-file", join(root, "daemon.json"), "--bip", "172.31.251.1/24"],
    ],
  };
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function ended(pid: number): number {
  for (;;) {
    const end = tryWait(pid);
    if (end !== undefined) return end.code;
    Atomics.wait(sleeper, 0, 0, LOOK_MS);
  }
}

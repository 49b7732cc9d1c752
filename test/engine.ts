import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { endChild, type Finished, findProgram, finish, type RunOptions } from "./command.ts";
import { type Made, mountsBelow, processesOf, processStart, removeTestRoot, TEST_ROOT_PREFIX } from "./leftovers.ts";
import { Terminal } from "./terminal.ts";

const CHECKOUT = fileURLToPath(new URL("..", import.meta.url));
const GANTRYD = join(CHECKOUT, "bin/gantryd");
export const GANTRY = join(CHECKOUT, "bin/gantry");
const DOCKER = findProgram("docker");
const READY_MS = 30_000;
const END_MS = 20_000;

/** What `test(name, { skip: NO_DOCKER }, …)` takes: false, or why tests that need the docker CLI can't run. */
export const NO_DOCKER = DOCKER === undefined ? "the docker CLI is not on the PATH" : false;

export interface EngineOptions {
  /** Further flags of the engine, or what they are below its root. */
  readonly args?: readonly string[] | ((root: string) => readonly string[]);
  readonly env?: Readonly<Record<string, string>>;
  /** What starts the engine, whose command line is appended to it; it must become the engine (exec). */
  readonly wrap?: readonly string[];
  /** Make busybox:latest; default true. */
  readonly image?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body; undefined if it is not JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into answers whose shape is what it tests
  readonly json: any;
}

/** Starts an engine with roots and a socket of its own; dispose of it with `await using` or in an `after` hook. */
export async function startEngine(options: EngineOptions = {}): Promise<TestEngine> {
  const root = mkdtempSync(TEST_ROOT_PREFIX);
  const { args = [] } = options;
  const engine = new TestEngine(root, typeof args === "function" ? args(root) : args, options.wrap);
  try {
    await engine.start(options.env);
    if (options.image ?? true) await engine.bootstrap("busybox");
    return engine;
  } catch (error) {
    await engine.removeByForce();
    throw error;
  }
}

export class TestEngine implements AsyncDisposable {
  readonly root: string;
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly socket: string;
  readonly #args: readonly string[];
  readonly #wrap: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  #process: ChildProcess | undefined;
  #links: readonly string[] = [];
  #tables: readonly string[] = [];

  constructor(root: string, args: readonly string[], wrap: readonly string[] = []) {
    this.root = root;
    this.dataRoot = join(root, "data");
    this.execRoot = join(root, "exec");
    this.socket = join(root, "gantry.sock");
    this.#args = args;
    this.#wrap = wrap;
    const host = `unix://${this.socket}`;
    this.#env = {
      ...process.env,
      DOCKER_HOST: host,
      GANTRY_HOST: host,
      DOCKER_CONFIG: join(root, "config"),
      HOME: root,
    };
    // A person's own choices must not steer the tests.
    for (const name of ["DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"])
      delete this.#env[name];
    this.#record([]);
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error("the test engine is not running");
    return pid;
  }

  /** Bytes of the engine's process that are in memory now. */
  get residentBytes(): number {
    const [, kib] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/status`, "utf8")) ?? [];
    return Number(kib) * 1024;
  }

  /** What the engine logged so far. */
  get log(): string {
    return existsSync(join(this.root, "engine.log")) ? readFileSync(join(this.root, "engine.log"), "utf8") : "";
  }

  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    const flags = ["--data-root", this.dataRoot, "--exec-root", this.execRoot, "-H", `unix://${this.socket}`];
    // A name that no other engine takes: what is left of this one is removed by it.
    if (!this.#args.includes("--bridge")) flags.push("--bridge", `gt-${this.root.slice(-6)}`);
    const config = join(this.root, "daemon.json");
    if (!existsSync(config)) writeFileSync(config, "{}\n");
    const log = openSync(join(this.root, "engine.log"), "a");
    const [program = GANTRYD, ...line] = [...this.#wrap, GANTRYD, ...flags, "--config-file", config, ...this.#args];
    const child = spawn(program, line, {
      env: { ...process.env, ...env },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.#process = child;
    let ended = "";
    child.once("exit", (code, signal) => {
      ended = `ended with ${signal ?? code}`;
    });
    child.once("error", (error) => {
      ended = error.message;
    });
    const deadline = Date.now() + READY_MS;
    // The socket is the only sign of readiness that every client has, so it is the one waited for.
    while (!(await this.#answers())) {
      if (ended !== "") throw new Error(`the engine ${ended} before it answered; its log:\n${this.log}`);
      if (Date.now() > deadline) throw new Error(`the engine did not answer in time; its log:\n${this.log}`);
      await after(15);
    }
    await this.#learnLinks();
  }

  /** SIGKILL, as a crash: containers go on. */
  async kill(): Promise<void> {
    // The bridges of networks made since are the machine's, too, should it never come back.
    // A failpoint that acts after an answer may end it while it is asked.
    if (await this.#answers()) await this.#learnLinks().catch(() => {});
    await this.#end("SIGKILL");
  }

  /** SIGTERM, as an upgrade: containers go on. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  async restart(env: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.stop();
    await this.start(env);
  }

  /** Has it read its configuration again, which may be given; resolves with what it says of that when it has. */
  async reload(config?: unknown): Promise<string> {
    if (config !== undefined) writeFileSync(join(this.root, "daemon.json"), JSON.stringify(config));
    const said = (): readonly string[] => this.log.match(/configuration (not )?reloaded.*/g) ?? [];
    const before = said().length;
    process.kill(this.pid, "SIGHUP");
    for (const deadline = Date.now() + READY_MS; said().length === before; await after(10)) {
      if (Date.now() > deadline) throw new Error(`the engine did not reload in time; its log:\n${this.log}`);
    }
    return said().at(-1) ?? "";
  }

  /** The stock docker CLI against this engine. */
  docker(...args: readonly string[]): Promise<Finished> {
    return this.run(DOCKER ?? "docker", args);
  }

  gantry(...args: readonly string[]): Promise<Finished> {
    return this.run(GANTRY, args);
  }

  /** `tool` by name, so that one test can be run through both. */
  tool(tool: "docker" | "gantry", args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return this.run(tool === "docker" ? (DOCKER ?? "docker") : GANTRY, args, options);
  }

  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return finish(program, args, { ...options, env: { ...this.#env, ...options.env } });
  }

  terminal(tool: "docker" | "gantry", ...args: readonly string[]): Terminal {
    return new Terminal(tool === "docker" ? (DOCKER ?? "docker") : GANTRY, args, { ...this.#env, TERM: "xterm" });
  }

  /** Runs a command that must succeed; resolves with its output, trimmed. */
  async ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.docker(...args);
    if (code !== 0) throw new Error(`docker ${args.join(" ")}: exit code ${code}: ${stderr}${stdout}`);
    return stdout.trim();
  }

  /** One request on a connection of its own. A body that is not text or bytes goes as JSON. */
  request(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const raw = typeof body === "string" || body instanceof Uint8Array;
    const payload = body === undefined ? undefined : raw ? body : JSON.stringify(body);
    const type =
      payload === undefined || headers["Content-Type"] !== undefined ? {} : { "Content-Type": "application/json" };
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const call = httpRequest(
      { socketPath: this.socket, method, path, headers: { ...type, ...headers }, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.once("error", reject);
        response.once("end", () => {
          const text = Buffer.concat(chunks).toString();
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parseOrUndefined(text) });
        });
      },
    );
    call.once("error", reject);
    call.end(payload);
    return promise;
  }

  /** A bare connection to the socket, for what no HTTP library would send. */
  connection(): Promise<Socket> {
    const socket = connect(this.socket);
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => resolve(socket));
    });
  }

  async bootstrap(name: string): Promise<void> {
    const answer = await this.request("POST", `/gantry/images/bootstrap?name=${encodeURIComponent(name)}`);
    if (answer.status !== 200 || answer.text.includes('"error"'))
      throw new Error(`cannot make ${name}: ${answer.text}`);
  }

  /**
   * Ends the engine as a user would and checks that it took all it made with it; then removes what is left by force.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    let left: string[] = [];
    try {
      if (await this.#answers()) {
        await this.#learnLinks();
        const listed = (await this.request("GET", "/containers/json?all=1")).json as { Id: string }[];
        this.#record(listed.map((container) => container.Id));
        await Promise.all(listed.map(({ Id }) => this.request("DELETE", `/containers/${Id}?force=1&v=1`)));
        await this.#end("SIGTERM");
        left = await this.#leftBehind();
      }
    } finally {
      await this.removeByForce();
    }
    if (left.length > 0) throw new Error(`the engine left behind: ${left.join("; ")}`);
  }

  async removeByForce(): Promise<void> {
    await this.#end("SIGKILL");
    removeTestRoot(this.root);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child !== undefined) await endChild(child, signal, END_MS);
  }

  async #answers(): Promise<boolean> {
    try {
      return (await this.request("GET", "/_ping")).status === 200;
    } catch {
      return false;
    }
  }

  /** The supervisor ends by itself once the engine is gone: it gets a moment. */
  async #leftBehind(): Promise<string[]> {
    const deadline = Date.now() + 5_000;
    for (;;) {
      const left = [
        ...processesOf(this.root).map((pid) => `process ${pid} ${commandOf(pid)}`),
        ...mountsBelow(this.root).map((path) => `mount ${path}`),
        ...this.#links.filter((name) => existsSync(`/sys/class/net/${name}`)).map((name) => `interface ${name}`),
        ...this.#tables
          .filter((name) => nft(["list", "table", ...name.split(" ")]) !== "")
          .map((name) => `table ${name}`),
      ];
      if (left.length === 0 || Date.now() > deadline) return left;
      await after(20);
    }
  }

  /** Interfaces and tables are the machine's, not the root's: written down for whoever cleans up after a crash. */
  async #learnLinks(): Promise<void> {
    const bridge = (await this.request("GET", "/networks/bridge")).json?.Options?.["com.docker.network.bridge.name"];
    if (typeof bridge !== "string" || bridge === "") return;
    const networks = (await this.request("GET", "/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D")).json;
    const made = (networks as { Id: string; Driver: string }[]).filter(({ Driver }) => Driver === "bridge");
    this.#links = [bridge, ...made.map(({ Id }) => `br-${Id.slice(0, 12)}`)];
    this.#tables = nft(["list", "tables"])
      .split("\n")
      .map((line) => line.replace(/^table /, ""))
      .filter((name) => name.includes("gantry") && nft(["list", "table", ...name.split(" ")]).includes(`"${bridge}"`));
    this.#record([]);
  }

  #record(containers: readonly string[]): void {
    const made: Made = {
      ownerPid: process.pid,
      ownerStart: processStart(process.pid),
      links: this.#links,
      tables: this.#tables,
      containers,
    };
    writeFileSync(join(this.root, "made.json"), `${JSON.stringify(made)}\n`);
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

function nft(args: readonly string[]): string {
  try {
    return execFileSync("nft", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return "";
  }
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

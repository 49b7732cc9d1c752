import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";

/** The agents of `--ssh`, by their ids: sockets, or keys that an agent of our own holds while the build runs. */
export class Agents implements AsyncDisposable {
  readonly #sockets = new Map<string, string>();
  readonly #children: ChildProcess[] = [];
  #folder: string | undefined;

  /** `default`, `id=SOCKET`, `id=KEY,KEY`. Rejects with invalid, naming what is missing. */
  static async open(specs: readonly string[], env: NodeJS.ProcessEnv): Promise<Agents> {
    const agents = new Agents();
    try {
      for (const spec of specs) await agents.#add(spec, env);
      return agents;
    } catch (error) {
      await agents[Symbol.asyncDispose]();
      throw error;
    }
  }

  has(id: string): boolean {
    return this.#sockets.has(id);
  }

  /** A connection to an agent. */
  async connect(id: string): Promise<Duplex> {
    const path = this.#sockets.get(id);
    if (path === undefined) throw new GantryError("not-found", `unset ssh forward key ${id}`);
    const socket = connect({ path, allowHalfOpen: true });
    try {
      await once(socket, "connect");
    } catch (error) {
      throw new GantryError("unavailable", `cannot reach the ssh agent at ${path}: ${messageOf(error)}`);
    }
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    }
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  async #add(spec: string, env: NodeJS.ProcessEnv): Promise<void> {
    const equals = spec.indexOf("=");
    const id = (equals < 0 ? spec : spec.slice(0, equals)) || "default";
    const paths =
      equals < 0
        ? []
        : spec
            .slice(equals + 1)
            .split(",")
            .filter((path) => path !== "");
    if (this.#sockets.has(id)) throw new GantryError("invalid", `invalid duplicate ID ${id}`);
    if (paths.length === 0) {
      const own = env.SSH_AUTH_SOCK ?? "";
      if (own === "") {
        throw new GantryError("invalid", "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
      }
      paths.push(own);
    }
    const files = paths.map((path) => (path.startsWith("~/") ? join(homedir(), path.slice(2)) : path));
    const sockets = files.filter(isSocket);
    if (sockets.length > 0 && files.length > 1) {
      throw new GantryError("invalid", "only single socket allowed for an ssh agent: give one socket, or keys");
    }
    this.#sockets.set(id, sockets[0] ?? (await this.#hold(files)));
  }

  /** An agent of our own with these keys. */
  async #hold(keys: readonly string[]): Promise<string> {
    this.#folder ??= mkdtempSync(join(tmpdir(), "gantry-agent-"));
    const path = join(this.#folder, String(this.#children.length));
    const agent = spawn("ssh-agent", ["-D", "-a", path], { stdio: "ignore" });
    this.#children.push(agent);
    const failed = once(agent, "error").then(([error]) => {
      throw new GantryError("unavailable", `cannot start ssh-agent, which holds the keys: ${messageOf(error)}`);
    });
    failed.catch(() => {});
    for (let tries = 0; !isThere(path) && tries < 200; tries++) {
      await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, 10))]);
    }
    for (const key of keys) {
      const add = spawn("ssh-add", [key], {
        stdio: ["inherit", "ignore", "pipe"],
        env: { ...process.env, SSH_AUTH_SOCK: path },
      });
      let said = "";
      add.stderr.on("data", (data: Buffer) => {
        said += data.toString().slice(0, 1000);
      });
      const [code] = (await once(add, "close")) as [number | null];
      if (code !== 0) throw new GantryError("invalid", `failed to parse ${key}: ${said.trim()}`);
    }
    return path;
  }
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch (error) {
    if (hasCode(error, "ENOENT"))
      throw new GantryError("invalid", `failed to open ssh agent or key ${path}: no such file`);
    throw error;
  }
}

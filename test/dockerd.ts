import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { endChild, findProgram } from "./command.ts";
import { makeTestRoot, removeTestRoot } from "./leftovers.ts";

const DOCKERD = findProgram("dockerd") ?? (existsSync("/usr/sbin/dockerd") ? "/usr/sbin/dockerd" : undefined);
const READY_MS = 30_000;
const END_MS = 20_000;

/** What `test(name, { skip: NO_DOCKERD }, …)` takes: false, or why there is nothing to compare with. */
export const NO_DOCKERD = DOCKERD === undefined ? "dockerd is not installed" : false;

/** Docker's own engine with roots and a socket of its own, without networks, its mounts to itself. */
export class TestDockerd implements AsyncDisposable {
  readonly socket: string;
  readonly root: string;
  readonly #process: ChildProcess;

  private constructor(root: string) {
    this.root = root;
    this.socket = join(root, "docker.sock");
    const log = openSync(join(root, "dockerd.log"), "a");
    const roots = ["--data-root", join(root, "data"), "--exec-root", join(root, "exec"), "-p", join(root, "pid")];
    const none = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--config-file", join(root, "daemon.json")];
    writeFileSync(join(root, "daemon.json"), "{}\n");
    const args = ["-m", DOCKERD ?? "dockerd", ...roots, ...none, "-H", `unix://${this.socket}`];
    this.#process = spawn("unshare", args, { stdio: ["ignore", log, log] });
    closeSync(log);
  }

  static async start(): Promise<TestDockerd> {
    const root = makeTestRoot();
    const docker = new TestDockerd(root);
    const deadline = Date.now() + READY_MS;
    while (!existsSync(docker.socket)) {
      if (docker.#process.exitCode !== null || Date.now() > deadline) {
        const log = readFileSync(join(root, "dockerd.log"), "utf8").slice(-3000);
        await docker[Symbol.asyncDispose]();
        throw new Error(`dockerd did not start; its log:\n${log}`);
      }
      await pause(50);
    }
    return docker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endChild(this.#process, "SIGTERM", END_MS);
    removeTestRoot(this.root);
  }
}

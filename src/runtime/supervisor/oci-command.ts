import { closeSync, constants, openSync, readFileSync, rmSync } from "node:fs";
import { spawnProcess } from "../../kernel/process.ts";
import type { OciRuntime } from "../process.ts";
import { runtimeStateRoot } from "../state-root.ts";
import type { Reaper } from "./reaper.ts";
import { SealedRuntimes } from "./sealed-runtime.ts";

const DEFAULT_TIMEOUT_MS = 60_000;
// A runtime of the 1.x series keeps its promise: exec.fifo in the state folder, one byte of which is `start`.
const KNOWN_CRUN = /^crun version 1\./;

export interface OciRun {
  readonly pid: number;
  /** undefined: it did not end in time and was killed. */
  readonly ended: Promise<number | undefined>;
}

/** Starts OCI runtimes: `crun create` and its like. */
export class OciCommand {
  readonly #execRoot: string;
  readonly #reaper: Reaper;
  readonly #crun = new Map<string, Promise<boolean>>();
  readonly #sealed = new SealedRuntimes();
  #probes = 0;

  constructor(execRoot: string, reaper: Reaper) {
    this.#execRoot = execRoot;
    this.#reaper = reaper;
  }

  stateRoot(runtime: OciRuntime): string {
    return runtimeStateRoot(this.#execRoot, runtime);
  }

  /** `log`: absolute path of the file that gets the runtime's own words. A time limit of 0 is none. */
  start(
    runtime: OciRuntime,
    args: readonly string[],
    options: { readonly log: string; readonly stdio: readonly number[]; readonly timeoutMs?: number },
  ): OciRun {
    const common = ["--root", this.stateRoot(runtime), "--log", options.log, "--log-format", "json"];
    const pid = spawnProcess({
      file: this.#sealed.pathOf(runtime.path),
      args: [runtime.path, ...runtime.args, ...common, ...args],
      env: { PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin" },
      cwd: "/",
      stdio: options.stdio,
      session: true,
    });
    return { pid, ended: this.#end(pid, options.timeoutMs ?? DEFAULT_TIMEOUT_MS) };
  }

  /** Runs to the end without any streams. Returns the exit code, undefined if it was killed for being late. */
  async run(
    runtime: OciRuntime,
    args: readonly string[],
    log: string,
    timeoutMs?: number,
  ): Promise<number | undefined> {
    const nothing = openSync("/dev/null", constants.O_RDWR);
    try {
      return await this.start(runtime, args, { log, stdio: [nothing, nothing, nothing], timeoutMs }).ended;
    } finally {
      closeSync(nothing);
    }
  }

  /** True if the runtime is a crun whose state folder we know how to use. Asked once for each executable. */
  isKnownCrun(runtime: OciRuntime): Promise<boolean> {
    let known = this.#crun.get(runtime.path);
    if (known === undefined) {
      known = this.#probe(runtime);
      this.#crun.set(runtime.path, known);
    }
    return known;
  }

  async #probe(runtime: OciRuntime): Promise<boolean> {
    const path = `${this.#execRoot}/version-${this.#probes++}`;
    const nothing = openSync("/dev/null", constants.O_RDWR);
    const out = openSync(path, "w", 0o600);
    try {
      const env = { PATH: process.env.PATH ?? "" };
      const args = [runtime.path, ...runtime.args, "--version"];
      const pid = spawnProcess({ file: runtime.path, args, env, stdio: [nothing, out, nothing] });
      return (await this.#end(pid, 5000)) === 0 && KNOWN_CRUN.test(readFileSync(path, "utf8"));
    } catch {
      return false;
    } finally {
      closeSync(nothing);
      closeSync(out);
      rmSync(path, { force: true });
    }
  }

  #end(pid: number, timeoutMs: number): Promise<number | undefined> {
    const { promise, resolve } = Promise.withResolvers<number | undefined>();
    let late = false;
    const kill = (): void => {
      late = true;
      process.kill(pid, "SIGKILL");
    };
    const timer = timeoutMs > 0 ? setTimeout(kill, timeoutMs) : undefined;
    this.#reaper.watch(pid, (code) => {
      clearTimeout(timer);
      resolve(late ? undefined : code);
    });
    return promise;
  }
}

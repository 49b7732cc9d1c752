import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import type { Readable } from "node:stream";
import { GantryError, hasCode } from "../base/errors.ts";
import { connectUnix } from "../kernel/unix-socket.ts";
import { ALREADY_RUNNING } from "./protocol.ts";

const START_TIMEOUT_MS = 20_000;

/** A process beside the engine that outlives it: one an exec root, found by its socket. */
export interface HelperPlace {
  /** What it is called in messages, and its files under the exec root. */
  readonly name: string;
  /** Absolute; at most 90 bytes, since sockets lie in it. */
  readonly execRoot: string;
  /** The Node executable, and the helper's program: a main.ts or what it was bundled to. */
  readonly nodePath: string;
  readonly script: string;
}

/** A connection to the living helper of an exec root; undefined if there is none. */
export function findHelper({ execRoot, name }: Pick<HelperPlace, "execRoot" | "name">): number | undefined {
  try {
    return connectUnix(`${execRoot}/${name}.sock`);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ECONNREFUSED")) return undefined;
    throw error;
  }
}

/** Starts a helper that outlives this process, and connects to it. */
export async function startHelper(place: HelperPlace): Promise<number> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  mkdirSync(place.execRoot, { recursive: true, mode: 0o700 });
  for (;;) {
    const status = await launch(place, deadline - Date.now());
    const fd = findHelper(place);
    if (fd !== undefined) return fd;
    if (status !== ALREADY_RUNNING || Date.now() > deadline) {
      const why = `it ended with status ${status ?? "unknown"}; see ${place.execRoot}/${place.name}.log`;
      throw new GantryError("unavailable", `cannot start the ${place.name}: ${why}`);
    }
    // Another one holds the lock but does not listen yet, or is about to end.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Resolves once the helper serves (undefined) or has ended (its exit status). */
async function launch(place: HelperPlace, timeoutMs: number): Promise<number | null | undefined> {
  const errors = openSync(`${place.execRoot}/${place.name}.log`, "a", 0o600);
  const args = ["--max-semi-space-size=4", place.script, place.execRoot];
  const child = spawn(place.nodePath, args, {
    cwd: "/",
    detached: true,
    stdio: ["ignore", errors, errors, "pipe"],
    env: helperEnv(),
  });
  closeSync(errors);
  const ready = child.stdio[3] as Readable;
  const { promise, resolve, reject } = Promise.withResolvers<number | null | undefined>();
  const timer = setTimeout(
    () => {
      child.kill("SIGKILL");
      reject(new GantryError("unavailable", `cannot start the ${place.name}: it does not answer`));
    },
    Math.max(1, timeoutMs),
  );
  child.once("error", (error) =>
    reject(new GantryError("unavailable", `cannot start the ${place.name}: ${error.message}`)),
  );
  child.once("exit", (code) => resolve(code));
  ready.once("data", () => resolve(undefined));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    ready.destroy();
    child.unref();
  }
}

/** Options meant for the engine's Node (a debugger's port, hooks) must not reach it. */
function helperEnv(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_CHANNEL_FD: _channel, NODE_TEST_CONTEXT: _test, ...env } = process.env;
  return env;
}

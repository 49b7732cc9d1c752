import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { messageOf } from "../base/errors.ts";
import { flock } from "../kernel/descriptor.ts";
import { Readiness } from "../kernel/readiness.ts";
import { acceptUnix, listenUnix } from "../kernel/unix-socket.ts";
import { ALREADY_RUNNING } from "./protocol.ts";

/** What a helper is once it is set up. */
export interface HelperProgram {
  /** Takes a connection of an engine: a descriptor, to be closed by the program. */
  serve(fd: number): void;
}

/** Who started a helper reads from this descriptor that it serves. */
const READY_FD = 3;

/**
 * Runs a helper of the engine as this process: `node main.ts EXEC_ROOT`. `set` makes the program, after the lock that
 * lets one helper of a name live in an exec root; the process ends when the function that it is given is called.
 * Signals end nothing unless `set` says otherwise.
 */
export async function runHelper(
  name: string,
  set: (execRoot: string, quit: () => void) => Promise<HelperProgram> | HelperProgram,
): Promise<void> {
  const [execRoot] = process.argv.slice(2);
  if (execRoot === undefined || !execRoot.startsWith("/")) {
    process.stderr.write("usage: main.ts EXEC_ROOT (an absolute path)\n");
    process.exit(2);
  }
  process.umask(0o022);
  process.chdir("/");
  mkdirSync(execRoot, { recursive: true, mode: 0o700 });
  const place = `${execRoot}/${name}`;
  if (!flock(openSync(`${place}.lock`, "a", 0o600), "exclusive")) process.exit(ALREADY_RUNNING);
  const socket = `${place}.sock`;
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  process.on("uncaughtException", (error) => process.stderr.write(`${error.stack ?? messageOf(error)}\n`));
  const program = await set(execRoot, () => {
    rmSync(socket, { force: true });
    // The last answer is still on its way to the engine.
    setImmediate(() => process.exit(0));
  });
  rmSync(socket, { force: true });
  const listening = listenUnix(socket);
  const readiness = new Readiness(listening, () => {
    for (let fd = acceptUnix(listening); fd !== undefined; fd = acceptUnix(listening)) program.serve(fd);
  });
  readiness.watch(true);
  try {
    writeSync(READY_FD, "ready");
    closeSync(READY_FD);
  } catch {
    // Who started us has gone; the next engine finds the socket.
  }
}

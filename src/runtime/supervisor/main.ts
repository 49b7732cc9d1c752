/** The supervisor as a program: `node main.ts EXEC_ROOT`, with descriptor 3 to say that it serves. */
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { messageOf } from "../../base/errors.ts";
import { flock } from "../../kernel/descriptor.ts";
import { setSubreaper } from "../../kernel/process.ts";
import { Readiness } from "../../kernel/readiness.ts";
import { acceptUnix, listenUnix } from "../../kernel/unix-socket.ts";
import { ALREADY_RUNNING, LOCK_NAME, SOCKET_NAME } from "../protocol.ts";
import { favourCgroupMoves } from "./fast-cgroup-moves.ts";
import { hideUnifiedHierarchy } from "./hybrid-cgroups.ts";
import { Supervisor } from "./supervisor.ts";

const READY_FD = 3;

async function main(execRoot: string): Promise<void> {
  process.umask(0o022);
  process.chdir("/");
  mkdirSync(execRoot, { recursive: true, mode: 0o700 });
  const lock = openSync(`${execRoot}/${LOCK_NAME}`, "a", 0o600);
  if (!flock(lock, "exclusive")) process.exit(ALREADY_RUNNING);

  hideUnifiedHierarchy();
  favourCgroupMoves();
  setSubreaper();
  const socket = `${execRoot}/${SOCKET_NAME}`;
  const quit = (): void => {
    rmSync(socket, { force: true });
    // The answer is still on its way to the engine.
    setImmediate(() => process.exit(0));
  };
  const supervisor = new Supervisor(execRoot, quit);
  // A supervisor that a signal or a bug can end would take every container's streams along.
  process.on("SIGTERM", () => supervisor.isIdle && quit());
  process.on("SIGINT", () => undefined);
  process.on("SIGHUP", () => undefined);
  process.on("uncaughtException", (error) => process.stderr.write(`${error.stack ?? messageOf(error)}\n`));
  await supervisor.recover();

  rmSync(socket, { force: true });
  const listening = listenUnix(socket);
  const readiness = new Readiness(listening, () => {
    for (let fd = acceptUnix(listening); fd !== undefined; fd = acceptUnix(listening)) supervisor.serve(fd);
  });
  readiness.watch(true);
  try {
    writeSync(READY_FD, "ready");
    closeSync(READY_FD);
  } catch {
    // Who started us has gone; the next engine finds the socket.
  }
}

const [execRoot] = process.argv.slice(2);
if (execRoot === undefined || !execRoot.startsWith("/")) {
  process.stderr.write("usage: main.ts EXEC_ROOT (an absolute path)\n");
  process.exit(2);
}
await main(execRoot);

/** The shipper as a program: `node main.ts EXEC_ROOT`, with descriptor 3 to say that it serves. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { messageOf } from "../../base/errors.ts";
import { flock } from "../../kernel/descriptor.ts";
import { Readiness } from "../../kernel/readiness.ts";
import { acceptUnix, listenUnix } from "../../kernel/unix-socket.ts";
import { ALREADY_RUNNING } from "../protocol.ts";
import { SHIPPER_NAME } from "../shipper-protocol.ts";
import { Shipper } from "./shipper.ts";

const READY_FD = 3;

function main(execRoot: string): void {
  process.umask(0o022);
  process.chdir("/");
  const place = `${execRoot}/${SHIPPER_NAME}`;
  if (!flock(openSync(`${place}.lock`, "a", 0o600), "exclusive")) process.exit(ALREADY_RUNNING);
  const socket = `${place}.sock`;
  const shipper = new Shipper(() => {
    rmSync(socket, { force: true });
    // Whoever asked for the end may still be told something.
    setImmediate(() => process.exit(0));
  });
  process.on("SIGTERM", () => undefined);
  process.on("SIGINT", () => undefined);
  process.on("SIGHUP", () => undefined);
  process.on("uncaughtException", (error) => process.stderr.write(`${error.stack ?? messageOf(error)}\n`));
  rmSync(socket, { force: true });
  const listening = listenUnix(socket);
  const readiness = new Readiness(listening, () => {
    for (let fd = acceptUnix(listening); fd !== undefined; fd = acceptUnix(listening)) shipper.serve(fd);
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
main(execRoot);

import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { answers, CHECKOUT, fail, LOG, until } from "./host-engine.ts";

const READY_MS = 60_000;

/** Starts the engine in the background and resolves when it answers on its socket. */
export async function launchEngine(): Promise<void> {
  mkdirSync(dirname(LOG), { recursive: true, mode: 0o750 });
  const log = openSync(LOG, "a", 0o640);
  const child = spawn(join(CHECKOUT, "bin/gantryd"), [], { cwd: "/", stdio: ["ignore", log, log], detached: true });
  closeSync(log);
  let ended: string | undefined;
  child.once("exit", (code, signal) => {
    ended = `ended with ${signal ?? `exit code ${code}`}`;
  });
  child.once("error", (error) => {
    ended = error.message;
  });
  const ready = await until(async () => ended !== undefined || (await answers()), READY_MS);
  if (ended !== undefined) fail(`the engine ${ended} before it was ready; the end of ${LOG}:\n${lastLines()}`);
  if (!ready) fail(`the engine did not answer within ${READY_MS / 1000} s; the end of ${LOG}:\n${lastLines()}`);
  child.unref();
}

function lastLines(): string {
  return readFileSync(LOG, "utf8").trimEnd().split("\n").slice(-10).join("\n");
}

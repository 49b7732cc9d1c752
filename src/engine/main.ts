import { GantryError, messageOf } from "../base/errors.ts";
import { type LogFormat, Logger, type LogLevel } from "../base/log.ts";
import { loadPolicy } from "../trust/policy-file.ts";
import { type Engine, startEngine } from "./assemble.ts";
import { loadConfig, reloadConfig } from "./config.ts";
import { type GivenFlags, helpText, parseFlags } from "./flags.ts";
import type { EngineConfig } from "./options.ts";
import { claimRoots } from "./roots.ts";
import { takeSystemd } from "./systemd.ts";
import { ENGINE_VERSION } from "./version.ts";

/** gantryd: reads its configuration, takes its folders, serves until it is told to end. */
async function main(args: readonly string[]): Promise<void> {
  if (args[0] === "doctor") {
    // Loaded for it alone.
    const { runDoctor } = await import("./doctor.ts");
    process.exitCode = await runDoctor(args.slice(1));
    return;
  }
  const flags = parseFlags(args);
  const isGiven = (flag: string) => flags.values.get(flag)?.at(-1) === "true";
  if (isGiven("help")) {
    process.stdout.write(helpText());
    return;
  }
  if (isGiven("version")) {
    process.stdout.write(`Gantry version ${ENGINE_VERSION}\n`);
    return;
  }
  const config = loadConfig(flags);
  if (isGiven("validate")) {
    if (config.signaturePolicy !== "") loadPolicy(config.signaturePolicy);
    process.stdout.write("configuration OK\n");
    return;
  }
  if (process.getuid?.() !== 0) {
    throw new GantryError("forbidden", "gantryd needs to be started with root privileges");
  }
  const write = (line: string) => process.stderr.write(line);
  const log = new Logger(config.debug ? "debug" : (config.logLevel as LogLevel), write, config.logFormat as LogFormat);
  process.on("unhandledRejection", (error) => log.error("a task failed unheard", { error: stackOf(error) }));
  // A signal that comes early must find what was begun finished and then end it.
  const ended = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => ended.resolve(signal));
  process.on("SIGPIPE", () => undefined);
  let reload = (): void => log.info("not reloaded: still starting");
  process.on("SIGHUP", () => reload());

  const systemd = takeSystemd(process.env, log);
  const roots = claimRoots(config);
  let engine: Engine;
  try {
    engine = await startEngine(config, roots, systemd.sockets, log);
  } catch (error) {
    roots.abandon();
    throw error;
  }
  reload = reloader(engine, config, flags, log);
  log.info("ready", { version: ENGINE_VERSION, hosts: config.hosts, dataRoot: roots.dataRoot, pid: process.pid });
  systemd.notify("READY=1");

  log.info("ending", { signal: await ended.promise });
  systemd.notify("STOPPING=1");
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log.warn("ending at once: told to a second time");
      process.exit(1);
    });
  }
  await engine.stop();
  // What a library may still watch must not keep the process.
  process.exit(0);
}

function reloader(engine: Engine, initial: EngineConfig, flags: GivenFlags, log: Logger): () => void {
  let running = initial;
  return () => {
    try {
      const { config, changed, needRestart } = reloadConfig(running, flags);
      engine.reload(config);
      running = config;
      log.info("configuration reloaded", { changed });
      if (needRestart.length > 0) {
        log.warn(`these settings changed and need a restart: ${needRestart.join(", ")}`, { needRestart });
      }
    } catch (error) {
      log.error(`configuration not reloaded: ${messageOf(error)}`);
    }
  };
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
}

/** What the machine refuses (a read-only disk, a file in a folder's place) is a sentence; what is our fault, a stack. */
function sentenceOf(error: unknown): string {
  if (error instanceof GantryError) return error.message;
  return error instanceof Error && "syscall" in error ? `cannot start: ${error.message}` : stackOf(error);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`gantryd: ${sentenceOf(error)}\n`);
  process.exit(1);
});

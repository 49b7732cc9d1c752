import { setTimeout as delay } from "node:timers/promises";
import type { ExecConfig } from "../api/container.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { Gate } from "../base/gate.ts";
import { publishContainerEvent } from "./event.ts";
import type { CapturedRun, ExecSessions } from "./exec.ts";
import {
  goDuration,
  type HealthPlan,
  type HealthResult,
  healthAfter,
  healthPlan,
  type OnFailure,
  onFailureOf,
  probeWaitMs,
} from "./health.ts";
import type { ContainerPorts } from "./ports.ts";
import { timestamp } from "./record.ts";
import type { ContainerTable, Entry } from "./table.ts";

const OUTPUT_LIMIT = 4096;
/** Probes that may be on their way to running at once: starting one costs more than most take to run. */
const STARTING_AT_ONCE = 4;
/** How long after an engine's start the probes that are overdue may take to begin, in all. */
const CATCH_UP_MS = 5_000;
/** A probe whose end nobody tells of is given up this long after its time. */
const LOST_AFTER_MS = 60_000;
const LONGEST_WAIT_MS = 2 ** 31 - 1;

interface Watch {
  readonly entry: Entry;
  readonly plan: HealthPlan;
  readonly startedAt: string;
  readonly stop: AbortController;
  /** The probe that runs now. */
  current: Promise<HealthResult> | undefined;
}

export interface HealthMonitorPorts extends Pick<ContainerPorts, "events" | "log" | "onHealthCheck"> {
  readonly table: ContainerTable;
  readonly execs: Pick<ExecSessions, "capture">;
  /** Does what is to be done about a container that has turned unhealthy. */
  readonly act: (entry: Entry, action: Exclude<OnFailure, "none">) => Promise<void>;
}

/** Probes the health of the containers that run, each in its own time, and writes down what it finds. */
export class HealthMonitor {
  readonly #ports: HealthMonitorPorts;
  readonly #watches = new Map<string, Watch>();
  readonly #starting = new Gate(STARTING_AT_ONCE);

  constructor(ports: HealthMonitorPorts) {
    this.#ports = ports;
  }

  /** Begins to look at a running container, unless it has no health check or is looked at already. */
  watch(entry: Entry): void {
    const { id, config, state, health } = entry.record;
    const plan = healthPlan(config);
    if (plan === undefined || health === undefined || state.status !== "running" || state.paused) return;
    if (this.#watches.has(id)) return;
    const { startedAt } = state;
    const watch: Watch = { entry, plan, startedAt, stop: new AbortController(), current: undefined };
    this.#watches.set(id, watch);
    this.#follow(watch, this.#firstWaitMs(watch)).catch((error: unknown) => {
      this.#ports.log.error(`cannot check the health: ${messageOf(error)}`, { container: id });
    });
  }

  /** Looks away from a container; a probe that runs is killed, and nobody waits for it. */
  unwatch(id: string): void {
    this.#watches.get(id)?.stop.abort();
    this.#watches.delete(id);
  }

  /** Probes at once, or joins the probe that runs. Throws conflict if the container can't be probed. */
  async probe(entry: Entry): Promise<HealthResult> {
    const { id, config, state } = entry.record;
    if (healthPlan(config) === undefined) throw new GantryError("conflict", `container ${id} has no health check`);
    if (state.status !== "running") throw new GantryError("conflict", `container ${id} is not running`);
    if (state.paused) {
      throw new GantryError("conflict", `container ${id} is paused, unpause the container before its health check`);
    }
    const watch = this.#watches.get(id);
    if (watch === undefined) throw new GantryError("conflict", `container ${id} is about to end`);
    try {
      return await this.#probeOnce(watch);
    } catch (error) {
      if (!watch.stop.signal.aborted) throw error;
      throw new GantryError("conflict", `container ${id} ended or was paused during its health check`);
    }
  }

  async #follow(watch: Watch, firstMs: number): Promise<void> {
    const { entry, plan, startedAt, stop } = watch;
    for (let waitMs = firstMs; ; ) {
      try {
        await delay(Math.min(waitMs, LONGEST_WAIT_MS), undefined, { signal: stop.signal, ref: false });
      } catch {
        return;
      }
      try {
        await this.#probeOnce(watch);
      } catch (error) {
        if (stop.signal.aborted) return;
        throw error;
      }
      const { health } = entry.record;
      if (stop.signal.aborted || health === undefined) return;
      waitMs = probeWaitMs(health, plan, Date.now() - Date.parse(startedAt));
    }
  }

  /** From now to the first probe: after a start an interval; after an engine's start what is left of the last one. */
  #firstWaitMs({ entry, plan, startedAt }: Watch): number {
    const { health } = entry.record;
    if (health === undefined) return plan.intervalMs;
    const last = health.log.at(-1);
    const lastMs = Math.max(Date.parse(startedAt), last === undefined ? 0 : Date.parse(last.End));
    const waitMs = probeWaitMs(health, plan, Date.now() - Date.parse(startedAt));
    const leftMs = lastMs + waitMs - Date.now();
    if (leftMs > 0) return Math.min(leftMs, waitMs);
    return Math.random() * Math.min(waitMs, CATCH_UP_MS);
  }

  #probeOnce(watch: Watch): Promise<HealthResult> {
    watch.current ??= this.#probe(watch).finally(() => {
      watch.current = undefined;
    });
    return watch.current;
  }

  async #probe(watch: Watch): Promise<HealthResult> {
    const { plan, stop } = watch;
    const Start = timestamp();
    const ended = await this.#run(watch).catch((error: unknown) => {
      stop.signal.throwIfAborted();
      return { code: -1, timedOut: false, output: messageOf(error) };
    });
    stop.signal.throwIfAborted();
    const late = `Health check exceeded timeout (${goDuration(plan.timeoutMs)})`;
    const result: HealthResult = {
      Start,
      End: timestamp(),
      ExitCode: ended.timedOut ? -1 : ended.code,
      Output: !ended.timedOut ? ended.output : ended.output === "" ? late : `${late}: ${ended.output}`,
    };
    this.#ports.onHealthCheck?.(result.ExitCode !== 0);
    this.#settle(watch, result);
    return result;
  }

  /** Waits its turn to start, not its turn to run: a probe that hangs holds up no other. */
  async #run({ entry, plan, stop }: Watch): Promise<CapturedRun> {
    const end = new AbortController();
    const abort = () => end.abort();
    stop.signal.addEventListener("abort", abort, { once: true });
    let timer: NodeJS.Timeout | undefined;
    const { promise, resolve, reject } = Promise.withResolvers<CapturedRun>();
    const turn = this.#starting.run(async () => {
      end.signal.throwIfAborted();
      timer = setTimeout(abort, Math.min(plan.timeoutMs + LOST_AFTER_MS, LONGEST_WAIT_MS)).unref();
      const { promise: started, resolve: onStarted } = Promise.withResolvers<void>();
      const run = this.#ports.execs.capture(entry, probeConfig(entry, plan), {
        timeoutMs: plan.timeoutMs,
        outputLimit: OUTPUT_LIMIT,
        signal: end.signal,
        onStarted,
      });
      resolve(run);
      await Promise.race([started, run]);
    });
    turn.catch(reject);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      stop.signal.removeEventListener("abort", abort);
    }
  }

  #settle({ entry, plan, startedAt }: Watch, result: HealthResult): void {
    const { table, events, log } = this.#ports;
    const { id, health: before } = entry.record;
    if (before === undefined || table.get(id) !== entry) return;
    const health = healthAfter(before, result, plan, startedAt);
    try {
      table.updateRelaxed(entry, { health });
    } catch (error) {
      // What was found is so, also when the disk is full.
      entry.record = { ...entry.record, health };
      log.warn(`cannot record the health: ${messageOf(error)}`, { container: id });
    }
    if (health.status === before.status) return;
    publishContainerEvent(events, entry.record, `health_status: ${health.status}`);
    const action = onFailureOf(entry.record.config.Labels);
    if (health.status !== "unhealthy" || action === undefined || action === "none") return;
    this.#ports.act(entry, action).catch((error: unknown) => {
      log.error(`cannot ${action} what is unhealthy: ${messageOf(error)}`, { container: id });
    });
  }
}

/** The probe as an exec: the container's own user, folder and variables. */
function probeConfig({ record }: Entry, plan: HealthPlan): ExecConfig {
  return {
    User: record.config.User,
    Privileged: false,
    Tty: false,
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    DetachKeys: "",
    Env: null,
    WorkingDir: record.config.WorkingDir,
    Cmd: [...plan.command],
  };
}

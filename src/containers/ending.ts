import { setTimeout as delay } from "node:timers/promises";
import { GantryError, isKind } from "../base/errors.ts";
import type { StopOptions } from "./controller.ts";
import { publishContainerEvent } from "./event.ts";
import type { Freezing } from "./freezing.ts";
import type { ContainerPorts } from "./ports.ts";
import { parseSignal } from "./signal.ts";
import type { Entry } from "./table.ts";
import type { Waiters } from "./waiters.ts";

const SIGKILL = 9;
const SIGTERM = 15;
const DEFAULT_TIMEOUT_SECONDS = 10;
/** How long a SIGKILL may take to show before the caller is told that the process cannot be killed. */
const KILL_PATIENCE_MS = 10_000;

/** Asks the first processes of containers to end, and waits for them. Takes no lock while it waits. */
export class Ending {
  readonly #ports: Pick<ContainerPorts, "runtime" | "events" | "networks">;
  readonly #exits: Waiters;
  readonly #freezing: Freezing;

  constructor(ports: Pick<ContainerPorts, "runtime" | "events" | "networks">, exits: Waiters, freezing: Freezing) {
    this.#ports = ports;
    this.#exits = exits;
    this.#freezing = freezing;
  }

  /** Resolves when the process has ended and its end is recorded. */
  ended(entry: Entry): Promise<unknown> {
    return entry.record.state.status === "running" ? this.#exits.next(entry.record.id, undefined) : Promise.resolve();
  }

  /** Its stop signal, then after the timeout SIGKILL. Resolves when it has ended. */
  async stop(entry: Entry, options: StopOptions): Promise<void> {
    const { config } = entry.record;
    const signal = options.signal ? parseSignal(options.signal) : stopSignalOf(entry);
    const seconds = options.timeoutSeconds ?? config.StopTimeout ?? DEFAULT_TIMEOUT_SECONDS;
    const ended = this.ended(entry);
    // Its end is certain from here: others are no longer led to it while it finishes its work.
    this.#ports.networks.withdraw(entry.record.id);
    await this.#signalOrEnded(entry, signal);
    const inTime = seconds < 0 ? ended.then(() => true) : within(ended, seconds * 1000);
    if (await inTime) return;
    await this.kill(entry, ended);
  }

  /** SIGKILL. Throws internal if the process does not go: it is stuck in the kernel. */
  async kill(entry: Entry, ended: Promise<unknown> = this.ended(entry)): Promise<void> {
    this.#ports.networks.withdraw(entry.record.id);
    await this.#signalOrEnded(entry, SIGKILL);
    if (!(await within(ended, KILL_PATIENCE_MS))) {
      throw new GantryError(
        "internal",
        `tried to kill container ${entry.record.id}, but did not receive an exit event: its process is stuck in the kernel`,
      );
    }
  }

  /** Sends one signal; after SIGKILL it waits until the process is gone, but not for one that is stuck. */
  async signal(entry: Entry, signal: number): Promise<void> {
    const ended = this.ended(entry);
    if (signal === SIGKILL) {
      this.#ports.networks.withdraw(entry.record.id);
      await this.#signalOrEnded(entry, signal);
      await within(ended, KILL_PATIENCE_MS);
    } else await this.#send(entry, signal, endsIt(entry, signal));
  }

  async #signalOrEnded(entry: Entry, signal: number): Promise<void> {
    try {
      await this.#send(entry, signal, true);
    } catch (error) {
      // It ended by itself a moment ago: what the caller wants is the case.
      if (!isKind(error, "not-found") && !isKind(error, "conflict")) throw error;
    }
  }

  /** A frozen process would take the signal only when it thaws. */
  async #send(entry: Entry, signal: number, thaws: boolean): Promise<void> {
    const { id, state } = entry.record;
    const isFrozen = state.status === "running" && state.paused;
    const sent = this.#ports.runtime.kill(id, signal).then(() => {
      publishContainerEvent(this.#ports.events, entry.record, "kill", { signal: String(signal) });
    });
    // Its end, which may be known by now, is told after this.
    entry.transient.signalling = Promise.allSettled([entry.transient.signalling, sent]);
    await sent;
    if (isFrozen && thaws) await this.#freezing.thaw(entry);
  }
}

/** True for the signals after which a container is meant to be down. */
export function endsIt(entry: Entry, signal: number): boolean {
  return signal === SIGKILL || signal === stopSignalOf(entry);
}

/** A record of an older engine may name what is no signal. */
function stopSignalOf({ record }: Entry): number {
  try {
    return parseSignal(record.config.StopSignal || "SIGTERM");
  } catch {
    return SIGTERM;
  }
}

/** True if `ended` came before the time was up. */
async function within(ended: Promise<unknown>, ms: number): Promise<boolean> {
  const stop = new AbortController();
  try {
    return await Promise.race([ended.then(() => true), delay(ms, false, { signal: stop.signal }).catch(() => false)]);
  } finally {
    stop.abort();
  }
}

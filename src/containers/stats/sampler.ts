import type { ContainerStats } from "../../api/stats.ts";
import { Breath } from "../../base/breath.ts";
import { readMachine } from "./machine.ts";
import { emptySample, type Place, type Sample, statsOf, takeSample } from "./sample.ts";

/** A container as the sampler sees it. */
export interface Subject {
  readonly name: string;
  /** undefined while it doesn't run. `run` tells one start from the next: counters begin anew with each. */
  readonly running: (Place & { readonly run: string }) | undefined;
}

const EVERY_MS = 1000;
/** Closer samples would divide by next to nothing: the kernel counts the machine's time in steps of 10 ms. */
const APART_MS = 500;

interface Look {
  readonly sample: Sample;
  readonly run: string | undefined;
  readonly at: number;
}

interface Watched {
  readonly watchers: Set<Watcher>;
  last: Look | undefined;
  /** The last look joined with the one before. */
  stats: ContainerStats | undefined;
}

/** One client's view of a container, from `StatsSampler.watch`; to be disposed of. */
export class Watcher implements Disposable {
  #waiting: ((stats: ContainerStats | undefined) => void) | undefined;
  #unread: ContainerStats | undefined;
  #ended = false;
  readonly #leave: (watcher: Watcher) => void;

  constructor(leave: (watcher: Watcher) => void) {
    this.#leave = leave;
  }

  /** The newest sample not told yet, waiting for one if need be; undefined once `end` was called. */
  next(): Promise<ContainerStats | undefined> {
    const unread = this.#unread;
    this.#unread = undefined;
    if (unread !== undefined || this.#ended) return Promise.resolve(unread);
    const { promise, resolve } = Promise.withResolvers<ContainerStats | undefined>();
    this.#waiting = resolve;
    return promise;
  }

  /** A client that does not read keeps the newest sample alone. */
  tell(stats: ContainerStats): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#unread = stats;
    else waiting(stats);
  }

  end(): void {
    this.#ended = true;
    this.#waiting?.(undefined);
    this.#waiting = undefined;
  }

  [Symbol.dispose](): void {
    this.end();
    this.#leave(this);
  }
}

/**
 * Looks at each watched container once a second, however many clients watch it, and at none that nobody watches. All
 * are looked at in one round, with turns of the event loop in between.
 */
export class StatsSampler {
  readonly #subject: (id: string) => Subject | undefined;
  readonly #watched = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;
  #inRound = false;

  /** `subject` is asked at each look; undefined for a container that is gone. */
  constructor(subject: (id: string) => Subject | undefined) {
    this.#subject = subject;
  }

  /** One look by itself, without a sample before it. */
  look(id: string): ContainerStats | undefined {
    const subject = this.#subject(id);
    if (subject === undefined) return undefined;
    const { running, name } = subject;
    return statsOf(running === undefined ? emptySample(id) : takeSample(running, readMachine()), undefined, name);
  }

  /** The first sample is there at once: the last one, if somebody watches already. */
  watch(id: string): Watcher {
    let watched = this.#watched.get(id);
    if (watched === undefined) {
      watched = { watchers: new Set(), last: undefined, stats: undefined };
      this.#watched.set(id, watched);
      this.#look(id, watched, readMachine());
    }
    const watcher = new Watcher((one) => this.#leave(id, one));
    watched.watchers.add(watcher);
    if (watched.stats !== undefined) watcher.tell(watched.stats);
    this.#timer ??= setInterval(() => void this.#round(), EVERY_MS);
    return watcher;
  }

  #leave(id: string, watcher: Watcher): void {
    const watched = this.#watched.get(id);
    if (watched?.watchers.delete(watcher) !== true || watched.watchers.size > 0) return;
    this.#watched.delete(id);
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #round(): Promise<void> {
    // On a machine that is too slow for a round a second the next one is left out.
    if (this.#inRound) return;
    this.#inRound = true;
    try {
      const breath = new Breath();
      let machine = readMachine();
      for (const [id, watched] of [...this.#watched]) {
        const took = await breath.take();
        if (took) machine = readMachine();
        if (this.#watched.get(id) !== watched) continue;
        if (watched.last !== undefined && performance.now() - watched.last.at < APART_MS) continue;
        this.#look(id, watched, machine);
        for (const watcher of watched.watchers) if (watched.stats !== undefined) watcher.tell(watched.stats);
      }
    } finally {
      this.#inRound = false;
    }
  }

  #look(id: string, watched: Watched, machine: ReturnType<typeof readMachine>): void {
    const subject = this.#subject(id);
    if (subject === undefined) return;
    const { running, name } = subject;
    const before = watched.last;
    const sample = running === undefined ? emptySample(id) : takeSample(running, machine);
    watched.last = { sample, run: running?.run, at: performance.now() };
    const isSameRun = running !== undefined && before?.run === running.run;
    watched.stats = statsOf(sample, isSameRun ? before?.sample : undefined, name);
  }
}

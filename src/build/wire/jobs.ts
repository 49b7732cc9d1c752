import { GantryError } from "../../base/errors.ts";
import type { GatewayBuild } from "./gateway-build.ts";
import { Told } from "./told.ts";

/** A build that a client has asked for by a name of its own. */
export class Job {
  readonly id: string;
  readonly told = new Told();
  /** What the client takes part in, if it does. Set before the job starts. */
  gateway: GatewayBuild | undefined;
  hasEnded = false;

  constructor(id: string) {
    this.id = id;
  }
}

/** Its status is asked for on a stream of its own, which may come first. */
const PATIENCE_MS = 5_000;
/** Or after its end. */
const AFTERLIFE_MS = 10_000;

/** The builds that clients follow, by their names. */
export class Jobs {
  readonly #jobs = new Map<string, Job>();
  readonly #waiting = new Map<string, Set<(job: Job) => void>>();

  start(job: Job): void {
    if (job.id === "" || job.id.length > 512)
      throw new GantryError("invalid", "the build has no name that could be one");
    if (this.#jobs.get(job.id)?.hasEnded === false) throw new GantryError("conflict", `job ID ${job.id} exists`);
    this.#jobs.set(job.id, job);
    for (const resolve of this.#waiting.get(job.id) ?? []) resolve(job);
    this.#waiting.delete(job.id);
  }

  end(job: Job): void {
    job.hasEnded = true;
    job.told.end();
    const forget = () => {
      if (this.#jobs.get(job.id) === job) this.#jobs.delete(job.id);
    };
    setTimeout(forget, AFTERLIFE_MS).unref();
  }

  /** Waits a while for one that isn't there yet. Rejects with not-found. */
  async get(id: string, signal: AbortSignal): Promise<Job> {
    const job = this.#jobs.get(id);
    if (job !== undefined) return job;
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Job>();
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting.add(resolve));
    const timer = setTimeout(
      () => reject(new GantryError("not-found", `no such job ${id.slice(0, 512)}`)),
      PATIENCE_MS,
    );
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
    }
  }

  /** Without waiting. */
  find(id: string): Job | undefined {
    return this.#jobs.get(id);
  }
}

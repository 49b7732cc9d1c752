import { GantryError } from "../../base/errors.ts";
import { Arrivals } from "./arrivals.ts";
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
  readonly #jobs = new Arrivals<Job>(PATIENCE_MS);

  start(job: Job): void {
    if (job.id === "" || job.id.length > 512)
      throw new GantryError("invalid", "the build has no name that could be one");
    if (this.#jobs.find(job.id)?.hasEnded === false) throw new GantryError("conflict", `job ID ${job.id} exists`);
    this.#jobs.add(job.id, job);
  }

  end(job: Job): void {
    job.hasEnded = true;
    job.told.end();
    setTimeout(() => this.#jobs.remove(job.id, job), AFTERLIFE_MS).unref();
  }

  /** Waits a while for one that isn't there yet. Rejects with not-found. */
  get(id: string, signal: AbortSignal): Promise<Job> {
    return this.#jobs.get(id, `no such job ${id.slice(0, 512)}`, signal);
  }

  /** Without waiting. */
  find(id: string): Job | undefined {
    return this.#jobs.find(id);
  }
}

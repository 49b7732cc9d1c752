import { availableParallelism } from "node:os";
import { type ResourceLimits, Worker } from "node:worker_threads";
import { cancelled } from "./abort.ts";
import { GantryError, messageOf } from "./errors.ts";
import { errorOf, type Failure } from "./failure.ts";

/** What a thread is told: to begin a job, and whatever its jobs understand while they run. */
export type ToThread<Order, Word> =
  | { readonly do: "begin"; readonly id: number; readonly order: Order }
  | (Word & { readonly id: number });

/** What a thread tells of a job: news, and one end. */
export type FromThread<Result, News> =
  | { readonly did: "news"; readonly id: number; readonly news: News }
  | { readonly did: "end"; readonly id: number; readonly result: Result }
  | { readonly did: "fail"; readonly id: number; readonly failure: Failure };

export interface ThreadsOptions {
  /** The path of the threads' script, or of what it was bundled to. */
  readonly script: string;
  /** What a job that a thread died of is told to be: `cannot copy`. */
  readonly failure: string;
  readonly limits?: ResourceLimits;
}

export interface Job<Result, Word> {
  readonly done: Promise<Result>;
  tell(word: Word): void;
}

const MOST_THREADS = 4;
const IDLE_MS = 10_000;

/** Threads with jobs: as many as there are processors, started when they are needed, ended when they rest. */
export class Threads<Order, Result, Word extends object, News> {
  readonly #options: ThreadsOptions;
  readonly #threads: Thread<Order, Result, Word, News>[] = [];
  readonly #most = Math.min(MOST_THREADS, availableParallelism());
  #last = 0;

  constructor(options: ThreadsOptions) {
    this.#options = options;
  }

  /** Begins a job on the thread that has the fewest. */
  begin(order: Order, onNews: (news: News) => void): Job<Result, Word> {
    const thread = this.#leastBusy();
    const id = ++this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    // Whoever gives up does not always wait for it.
    promise.catch(() => {});
    thread.begin(id, order, { onNews, resolve, reject });
    return { done: promise, tell: (word) => thread.tell({ ...word, id }) };
  }

  /** Ends all threads; what is under way fails with `cancelled`. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()));
  }

  #leastBusy(): Thread<Order, Result, Word, News> {
    const [least] = this.#threads.toSorted((one, other) => one.load - other.load);
    if (least !== undefined && (least.load === 0 || this.#threads.length >= this.#most)) return least;
    const thread = new Thread<Order, Result, Word, News>(this.#options, () => {
      const at = this.#threads.indexOf(thread);
      if (at !== -1) this.#threads.splice(at, 1);
    });
    this.#threads.push(thread);
    return thread;
  }
}

interface Ordered<Result, News> {
  readonly onNews: (news: News) => void;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

class Thread<Order, Result, Word extends object, News> {
  readonly #worker: Worker;
  readonly #orders = new Map<number, Ordered<Result, News>>();
  readonly #failure: string;
  readonly #forget: () => void;
  #idle: NodeJS.Timeout | undefined;

  constructor({ script, failure, limits }: ThreadsOptions, forget: () => void) {
    this.#failure = failure;
    this.#forget = forget;
    // An engine's own flags are none of its threads'. Descriptors come from calls that Node does not see.
    this.#worker = new Worker(script, { execArgv: [], trackUnmanagedFds: false, resourceLimits: limits });
    this.#worker.on("message", (message: FromThread<Result, News>) => this.#hear(message));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", (code) => this.#end(new Error(`exit code ${code}`)));
  }

  get load(): number {
    return this.#orders.size;
  }

  begin(id: number, order: Order, ordered: Ordered<Result, News>): void {
    clearTimeout(this.#idle);
    this.#worker.ref();
    this.#orders.set(id, ordered);
    this.tell({ do: "begin", id, order });
  }

  tell(message: ToThread<Order, Word>): void {
    this.#worker.postMessage(message);
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    this.#forget();
    for (const { reject } of this.#orders.values()) reject(cancelled());
    this.#orders.clear();
    await this.#worker.terminate();
  }

  #hear(message: FromThread<Result, News>): void {
    const ordered = this.#orders.get(message.id);
    if (ordered === undefined) return;
    if (message.did === "news") {
      ordered.onNews(message.news);
      return;
    }
    this.#orders.delete(message.id);
    if (message.did === "end") ordered.resolve(message.result);
    else ordered.reject(errorOf(message.failure));
    if (this.#orders.size > 0) return;
    this.#worker.unref();
    this.#idle = setTimeout(() => void this.close(), IDLE_MS).unref();
  }

  #end(error: unknown): void {
    clearTimeout(this.#idle);
    this.#forget();
    const why = `${this.#failure}: the thread has ended: ${messageOf(error)}`;
    for (const { reject } of this.#orders.values()) reject(new GantryError("internal", why, { cause: error }));
    this.#orders.clear();
  }
}

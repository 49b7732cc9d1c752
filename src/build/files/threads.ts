import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { cancelled } from "../../base/abort.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import type { FilesContext } from "./copy.ts";
import type { FilesOrder, FilesOutcome, FromFilesWorker, ToFilesWorker } from "./messages.ts";

const MOST_THREADS = 4;
const IDLE_MS = 10_000;

interface Ordered {
  readonly context: FilesContext;
  readonly resolve: (outcome: FilesOutcome) => void;
  readonly reject: (error: unknown) => void;
}

/** Threads that copy and digest: as many as there are processors, started when they are needed, ended when they rest. */
export class FilesThreads {
  readonly #script: string;
  readonly #threads: Thread[] = [];
  readonly #most = Math.min(MOST_THREADS, availableParallelism());
  #last = 0;

  /** `script` is the path of worker.ts, or of what it was bundled to. */
  constructor(script: string) {
    this.#script = script;
  }

  /** An abort rejects with `cancelled`, once nothing is written any more. */
  async run(order: FilesOrder, context: FilesContext): Promise<FilesOutcome> {
    if (context.signal.aborted) throw cancelled();
    const thread = this.#leastBusy();
    const id = ++this.#last;
    const abort = (): void => thread.tell({ do: "abort", id });
    context.signal.addEventListener("abort", abort, { once: true });
    try {
      return await thread.begin(id, order, context);
    } finally {
      context.signal.removeEventListener("abort", abort);
    }
  }

  /** Ends all threads; what is under way fails with `cancelled`. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()));
  }

  #leastBusy(): Thread {
    const [least] = this.#threads.toSorted((one, other) => one.load - other.load);
    if (least !== undefined && (least.load === 0 || this.#threads.length >= this.#most)) return least;
    const thread = new Thread(this.#script, () => {
      const at = this.#threads.indexOf(thread);
      if (at !== -1) this.#threads.splice(at, 1);
    });
    this.#threads.push(thread);
    return thread;
  }
}

class Thread {
  readonly #worker: Worker;
  readonly #orders = new Map<number, Ordered>();
  readonly #forget: () => void;
  #idle: NodeJS.Timeout | undefined;

  constructor(script: string, forget: () => void) {
    this.#forget = forget;
    // An engine's own flags are none of its threads'. Descriptors come from calls that Node does not see.
    this.#worker = new Worker(script, { execArgv: [], trackUnmanagedFds: false });
    this.#worker.on("message", (message: FromFilesWorker) => this.#hear(message));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", (code) => this.#end(new Error(`exit code ${code}`)));
  }

  get load(): number {
    return this.#orders.size;
  }

  begin(id: number, order: FilesOrder, context: FilesContext): Promise<FilesOutcome> {
    clearTimeout(this.#idle);
    this.#worker.ref();
    const { promise, resolve, reject } = Promise.withResolvers<FilesOutcome>();
    this.#orders.set(id, { context, resolve, reject });
    this.tell({ do: "begin", id, order });
    return promise;
  }

  tell(message: ToFilesWorker): void {
    this.#worker.postMessage(message);
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    this.#forget();
    for (const { reject } of this.#orders.values()) reject(cancelled());
    this.#orders.clear();
    await this.#worker.terminate();
  }

  #hear(message: FromFilesWorker): void {
    const ordered = this.#orders.get(message.id);
    if (ordered === undefined) return;
    if (message.did === "warn") {
      ordered.context.onWarning(message.text);
      return;
    }
    this.#orders.delete(message.id);
    if (message.did === "end") ordered.resolve(message.outcome);
    else ordered.reject(errorOf(message));
    if (this.#orders.size > 0) return;
    this.#worker.unref();
    this.#idle = setTimeout(() => void this.close(), IDLE_MS).unref();
  }

  #end(error: unknown): void {
    clearTimeout(this.#idle);
    this.#forget();
    for (const { reject } of this.#orders.values()) {
      const why = `cannot copy: the thread has ended: ${messageOf(error)}`;
      reject(new GantryError("internal", why, { cause: error }));
    }
    this.#orders.clear();
  }
}

function errorOf({ kind, message, code }: Extract<FromFilesWorker, { did: "fail" }>): Error {
  const error = kind === undefined ? new Error(message) : new GantryError(kind, message);
  return code === undefined ? error : Object.assign(error, { code });
}

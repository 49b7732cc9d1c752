import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { cancelled } from "../../base/abort.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import type { Failure, FromWorker, ToWorker, Unpacked, UnpackOrder } from "./unpack-messages.ts";

const MOST_THREADS = 4;
const IDLE_MS = 10_000;

/** A layer that a thread unpacks. */
export interface Unpacking {
  /** So many bytes of the file are there now. */
  offer(available: number): void;
  /** Rejects with what the machine is to blame for; then nothing is left in the target. */
  readonly done: Promise<Unpacked>;
  /** Ends the work; resolves when nothing of it is left. */
  abort(): Promise<void>;
}

interface Ordered {
  readonly onRead: (bytes: number) => void;
  readonly resolve: (unpacked: Unpacked) => void;
  readonly reject: (error: unknown) => void;
}

/** Threads that unpack layers: as many as there are processors, started when they are needed, ended when they rest. */
export class UnpackThreads {
  readonly #script: string;
  readonly #threads: Thread[] = [];
  readonly #most = Math.min(MOST_THREADS, availableParallelism());
  #last = 0;

  /** `script` is the path of worker.ts, or of what it was bundled to. */
  constructor(script: string) {
    this.#script = script;
  }

  begin(order: UnpackOrder, onRead: (bytes: number) => void): Unpacking {
    const thread = this.#leastBusy();
    const id = ++this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<Unpacked>();
    // Whoever aborts does not always wait for it.
    promise.catch(() => {});
    thread.begin(id, order, { onRead, resolve, reject });
    return {
      offer: (available) => thread.tell({ do: "read", id, available }),
      done: promise,
      abort: async () => {
        thread.tell({ do: "abort", id });
        await promise.catch(() => {});
      },
    };
  }

  /** Ends all threads; what is under way fails with `cancelled`. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()));
  }

  #leastBusy(): Thread {
    const sorted = this.#threads.toSorted((one, other) => one.load - other.load);
    const [least] = sorted;
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
    // An engine's own flags are none of its threads'; of memory they need little but for names of folders.
    this.#worker = new Worker(script, {
      execArgv: [],
      // Descriptors come from calls that Node does not see.
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: 16 },
    });
    this.#worker.on("message", (message: FromWorker) => this.#hear(message));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", (code) => this.#end(new Error(`exit code ${code}`)));
  }

  get load(): number {
    return this.#orders.size;
  }

  begin(id: number, order: UnpackOrder, ordered: Ordered): void {
    clearTimeout(this.#idle);
    this.#worker.ref();
    this.#orders.set(id, ordered);
    this.tell({ do: "begin", id, order });
  }

  tell(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    this.#forget();
    for (const { reject } of this.#orders.values()) reject(cancelled());
    this.#orders.clear();
    await this.#worker.terminate();
  }

  #hear(message: FromWorker): void {
    const ordered = this.#orders.get(message.id);
    if (ordered === undefined) return;
    if (message.did === "read") {
      ordered.onRead(message.bytes);
      return;
    }
    this.#orders.delete(message.id);
    if (message.did === "end") ordered.resolve(message.unpacked);
    else ordered.reject(errorOf(message.failure));
    if (this.#orders.size > 0) return;
    this.#worker.unref();
    this.#idle = setTimeout(() => void this.close(), IDLE_MS).unref();
  }

  #end(error: unknown): void {
    clearTimeout(this.#idle);
    this.#forget();
    for (const { reject } of this.#orders.values()) {
      const why = `cannot unpack the layer: its thread has ended: ${messageOf(error)}`;
      reject(new GantryError("internal", why, { cause: error }));
    }
    this.#orders.clear();
  }
}

/** What a thread told, as an error of this one. */
export function errorOf({ kind, message, code }: Failure): Error {
  const error = kind === undefined ? new Error(message) : new GantryError(kind, message);
  return code === undefined ? error : Object.assign(error, { code });
}

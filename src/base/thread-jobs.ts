import { parentPort } from "node:worker_threads";
import { failureOf } from "./failure.ts";
import type { FromThread } from "./threads.ts";

/** A job on this thread. */
export interface OwnJob<Result, Word> {
  readonly done: Promise<Result>;
  /** What it is told meanwhile, but for the wish that it end. */
  readonly hear?: (word: Word) => void;
}

export interface JobContext<News> {
  readonly signal: AbortSignal;
  readonly tell: (news: News) => void;
}

type Told<Order, Word> =
  | { readonly do: "begin"; readonly order: Order }
  | { readonly do: "abort" }
  | { readonly do: "word"; readonly word: Word };

/** The other side of `Threads`: does what this thread is ordered to, many jobs at once, and tells of their ends. */
export function serveJobs<Order, Result, News, Word extends { readonly do: string } = never>(
  begin: (order: Order, context: JobContext<News>) => OwnJob<Result, Word>,
): void {
  const port = parentPort;
  if (port === null) throw new Error("this is a thread of the engine's, not a program");
  const tell = (message: FromThread<Result, News>): void => port.postMessage(message);
  const running = new Map<number, { readonly abort: AbortController; readonly job: OwnJob<Result, Word> }>();

  const run = async (id: number, order: Order): Promise<void> => {
    const abort = new AbortController();
    try {
      const job = begin(order, { signal: abort.signal, tell: (news) => tell({ did: "news", id, news }) });
      running.set(id, { abort, job });
      tell({ did: "end", id, result: await job.done });
    } catch (error) {
      tell({ did: "fail", id, failure: failureOf(error) });
    } finally {
      running.delete(id);
    }
  };

  port.on("message", (message: { readonly id: number; readonly do: string }) => {
    const { id } = message;
    const told = toldBy<Order, Word>(message);
    if (told.do === "begin") void run(id, told.order);
    else if (told.do === "abort") running.get(id)?.abort.abort();
    else running.get(id)?.job.hear?.(told.word);
  });
}

function toldBy<Order, Word>(message: { readonly do: string }): Told<Order, Word> {
  if (message.do === "begin" || message.do === "abort") return message as Told<Order, Word>;
  return { do: "word", word: message as Word };
}

// A thread that packs and lays layers. What it is told and tells is in messages.ts.
import { parentPort } from "node:worker_threads";
import { failureOf } from "../../base/failure.ts";
import { GrowingFile } from "./growing-file.ts";
import { lay, pack } from "./jobs.ts";
import type { FromWorker, PackingOrder, ToWorker } from "./messages.ts";

interface Running {
  readonly abort: AbortController;
  readonly file: GrowingFile | undefined;
}

const port = parentPort;
if (port === null) throw new Error("this is a thread of the engine's, not a program");
const tell = (message: FromWorker): void => port.postMessage(message);
const running = new Map<number, Running>();

port.on("message", (message: ToWorker) => {
  if (message.do === "begin") void begin(message.id, message.order);
  else if (message.do === "abort") running.get(message.id)?.abort.abort();
  else running.get(message.id)?.file?.grow(message.size, message.isWhole);
});

async function begin(id: number, order: PackingOrder): Promise<void> {
  const abort = new AbortController();
  const { signal } = abort;
  try {
    if (order.job === "lay") {
      const file = new GrowingFile(order.from);
      running.set(id, { abort, file });
      tell({ did: "end", id, result: await lay(order, file, signal) });
    } else {
      running.set(id, { abort, file: undefined });
      const onWritten = (written: number): void => tell({ did: "news", id, news: { written } });
      tell({ did: "end", id, result: await pack(order, { signal, onWritten }) });
    }
  } catch (error) {
    tell({ did: "fail", id, failure: failureOf(error) });
  } finally {
    running.delete(id);
  }
}

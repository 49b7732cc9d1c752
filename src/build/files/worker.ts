// A thread that copies and digests files. What it is told and tells is in messages.ts.
import { parentPort } from "node:worker_threads";
import { failureOf } from "../../base/failure.ts";
import { doOrder } from "./job.ts";
import type { FilesOrder, FromFilesWorker, ToFilesWorker } from "./messages.ts";

const port = parentPort;
if (port === null) throw new Error("this is a thread of the engine's, not a program");
const tell = (message: FromFilesWorker): void => port.postMessage(message);
const running = new Map<number, AbortController>();

port.on("message", (message: ToFilesWorker) => {
  if (message.do === "begin") void begin(message.id, message.order);
  else running.get(message.id)?.abort();
});

async function begin(id: number, order: FilesOrder): Promise<void> {
  const abort = new AbortController();
  running.set(id, abort);
  try {
    const onWarning = (warning: string): void => tell({ did: "news", id, news: { warning } });
    tell({ did: "end", id, result: await doOrder(order, { signal: abort.signal, onWarning }) });
  } catch (error) {
    tell({ did: "fail", id, failure: failureOf(error) });
  } finally {
    running.delete(id);
  }
}

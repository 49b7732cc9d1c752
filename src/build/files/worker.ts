// A thread that copies and digests files. What it is told and tells is in messages.ts.
import { parentPort } from "node:worker_threads";
import { GantryError, messageOf } from "../../base/errors.ts";
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
    const onWarning = (text: string): void => tell({ did: "warn", id, text });
    tell({ did: "end", id, outcome: await doOrder(order, { signal: abort.signal, onWarning }) });
  } catch (error) {
    const kind = error instanceof GantryError ? error.kind : undefined;
    const { code } = error as { code?: unknown };
    tell({ did: "fail", id, kind, message: messageOf(error), code: typeof code === "string" ? code : undefined });
  } finally {
    running.delete(id);
  }
}

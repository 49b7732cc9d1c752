// A thread whose jobs wait for a word.
import { parentPort } from "node:worker_threads";
import { failureOf } from "./failure.ts";
import type { FromThread, ToThread } from "./threads.ts";

export interface Say {
  readonly do: "say";
  readonly text: string;
}

const tell = (message: FromThread<string, string>): void => parentPort!.postMessage(message);
const names = new Map<number, string>();

parentPort!.on("message", (message: ToThread<string, Say>) => {
  const { id } = message;
  if (message.do === "begin") {
    names.set(id, message.order);
    tell({ did: "news", id, news: `${message.order} has begun` });
  } else if (message.text === "die") {
    throw new Error("dead");
  } else if (message.text === "fail") {
    tell({ did: "fail", id, failure: failureOf(Object.assign(new Error("no room"), { code: "ENOSPC" })) });
  } else {
    tell({ did: "end", id, result: `${names.get(id)}: ${message.text}` });
  }
});

// A thread whose jobs wait for a word.
import { cancelled } from "./abort.ts";
import { serveJobs } from "./thread-jobs.ts";

export interface Say {
  readonly do: "say";
  readonly text: string;
}

export type Word = Say | { readonly do: "abort" };

serveJobs<string, string, string, Say>((name, { signal, tell }) => {
  const { promise, reject, resolve } = Promise.withResolvers<string>();
  tell(`${name} has begun`);
  signal.addEventListener("abort", () => reject(cancelled()));
  return {
    done: promise,
    hear: ({ text }) => {
      if (text === "die") throw new Error("dead");
      if (text === "fail") reject(Object.assign(new Error("no room"), { code: "ENOSPC" }));
      else resolve(`${name}: ${text}`);
    },
  };
});

import { cancelled } from "../../base/abort.ts";
import { Threads } from "../../base/threads.ts";
import type { FilesContext } from "./copy.ts";
import type { FilesNews, FilesOrder, FilesOutcome, FilesWord } from "./messages.ts";

/** Threads that copy and digest. */
export class FilesThreads {
  readonly #threads: Threads<FilesOrder, FilesOutcome, FilesWord, FilesNews>;

  /** `script` is the path of worker.ts, or of what it was bundled to. */
  constructor(script: string) {
    this.#threads = new Threads({ script, failure: "cannot copy" });
  }

  /** An abort rejects with `cancelled`, once nothing is written any more. */
  async run(order: FilesOrder, { signal, onWarning }: FilesContext): Promise<FilesOutcome> {
    if (signal.aborted) throw cancelled();
    const job = this.#threads.begin(order, ({ warning }) => onWarning(warning));
    const abort = (): void => job.tell({ do: "abort" });
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await job.done;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Ends all threads; what is under way fails with `cancelled`. */
  close(): Promise<void> {
    return this.#threads.close();
  }
}

import { Threads } from "../../base/threads.ts";
import type { Unpacked, UnpackNews, UnpackOrder, UnpackWord } from "./unpack-messages.ts";

/** A layer that a thread unpacks. */
export interface Unpacking {
  /** So many bytes of the file are there now. */
  offer(available: number): void;
  /** Rejects with what the machine is to blame for; then nothing is left in the target. */
  readonly done: Promise<Unpacked>;
  /** Ends the work; resolves when nothing of it is left. */
  abort(): Promise<void>;
}

/** Threads that unpack layers. */
export class UnpackThreads {
  readonly #threads: Threads<UnpackOrder, Unpacked, UnpackWord, UnpackNews>;

  /** `script` is the path of worker.ts, or of what it was bundled to. */
  constructor(script: string) {
    // They need little memory but for names of folders.
    const limits = { maxYoungGenerationSizeMb: 16 };
    this.#threads = new Threads({ script, failure: "cannot unpack the layer", limits });
  }

  begin(order: UnpackOrder, onRead: (bytes: number) => void, onUsed: (cpuMs: number) => void): Unpacking {
    const { done, tell } = this.#threads.begin(order, (news) => {
      if ("read" in news) onRead(news.read);
      else onUsed(news.cpuMs);
    });
    return {
      offer: (available) => tell({ do: "read", available }),
      done,
      abort: async () => {
        tell({ do: "abort" });
        await done.catch(() => {});
      },
    };
  }

  /** Ends all threads; what is under way fails with `cancelled`. */
  close(): Promise<void> {
    return this.#threads.close();
  }
}

import { messageOf } from "../../base/errors.ts";
import { reapAny } from "../../kernel/process.ts";

/** Hands each ended child to who waits for it. The only place in the supervisor that waits for processes. */
export class Reaper {
  readonly #waiting = new Map<number, (code: number) => void>();
  readonly #early = new Map<number, number>();
  #holds = 0;

  constructor() {
    process.on("SIGCHLD", () => this.reap());
  }

  reap(): void {
    for (let ended = reapAny(); ended !== undefined; ended = reapAny()) {
      const told = this.#waiting.get(ended.pid);
      if (told !== undefined) {
        this.#waiting.delete(ended.pid);
        try {
          told(ended.code);
        } catch (error) {
          // The others that have ended must be told all the same.
          process.stderr.write(`${messageOf(error)}\n`);
        }
      } else if (this.#holds > 0) this.#early.set(ended.pid, ended.code);
      // Else an orphan of a container without its own pid namespace, which nobody asks for.
    }
  }

  /**
   * Keeps the codes of unknown children until the returned function is called: for a process that will be a child but
   * whose pid is not known yet.
   */
  hold(): () => void {
    this.#holds++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      if (--this.#holds === 0) this.#early.clear();
    };
  }

  /** Calls `told` once, when the child `pid` has ended; at once if it was reaped during a hold. */
  watch(pid: number, told: (code: number) => void): void {
    const code = this.#early.get(pid);
    if (code === undefined) this.#waiting.set(pid, told);
    else {
      this.#early.delete(pid);
      setImmediate(told, code);
    }
  }
}

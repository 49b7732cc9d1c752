import { GantryError, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { StepEnd, StepOptions } from "../../runtime/step.ts";
import type { FailedSteps, ShellConnection, ShellRequest, ShellState } from "../builder.ts";
import type { BuildSession } from "../session.ts";

/** Each holds a root with all that is below it. */
const MOST = 16;
/** For so long it is worth somebody's while to look. */
const KEPT_MS = 3_600_000;
/** Without a session nobody says that nobody will come. */
const KEPT_ALONE_MS = 600_000;
/** How many ends are remembered, for those who ask for the exit code. */
const MOST_ENDED = 64;

export interface FailedStep {
  readonly buildId: string;
  readonly session: BuildSession | undefined;
  /** Runs another command in the step's place; none is its shell. */
  run(args: readonly string[], options: StepOptions): Promise<StepEnd>;
  release(): Promise<void>;
}

interface Kept {
  readonly step: FailedStep;
  readonly ending: AbortController;
  readonly timer: NodeJS.Timeout;
  readonly forget: () => void;
  /** There while a shell is open. */
  shell: Promise<void> | undefined;
  resize: ((rows: number, columns: number) => Promise<void>) | undefined;
}

/** Steps that failed, as they were when they did, for whoever wants to look into them. */
export class KeptSteps implements FailedSteps {
  readonly #log: Logger;
  /** The last one of each build, the oldest first. */
  readonly #kept = new Map<string, Kept>();
  readonly #ended = new Map<string, number>();
  readonly #releasing = new Set<Promise<void>>();
  #isClosed = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Keeps a step until its session ends, a shell in it does, or others need its place. */
  keep(step: FailedStep): void {
    this.#drop(step.buildId);
    this.#ended.delete(step.buildId);
    const { session } = step;
    const end = () => this.#drop(step.buildId, kept);
    const timer = setTimeout(end, session === undefined ? KEPT_ALONE_MS : KEPT_MS);
    timer.unref();
    session?.gone.addEventListener("abort", end, { once: true });
    const forget = () => {
      clearTimeout(timer);
      session?.gone.removeEventListener("abort", end);
    };
    const kept: Kept = { step, ending: new AbortController(), timer, forget, shell: undefined, resize: undefined };
    this.#kept.set(step.buildId, kept);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MOST && oldest !== undefined) this.#drop(oldest);
    if (this.#isClosed || session?.gone.aborted === true) end();
  }

  async openShell(buildId: string, request: ShellRequest, connect: () => ShellConnection): Promise<number> {
    const kept = this.#kept.get(buildId);
    if (kept === undefined) throw new GantryError("not-found", `no failed step of build ${buildId} is kept`);
    if (kept.shell !== undefined)
      throw new GantryError("conflict", `a shell in the failed step of build ${buildId} is open`);
    const over = Promise.withResolvers<void>();
    kept.shell = over.promise;
    try {
      const { rows, columns } = request;
      const end = await kept.step.run(request.args, {
        signal: kept.ending.signal,
        output: {
          kind: "terminal",
          ...{ connect, rows, columns },
          opened: (running) => {
            kept.resize = running.resize;
          },
        },
      });
      this.#remember(buildId, end.code);
      return end.code;
    } finally {
      over.resolve();
      this.#drop(buildId, kept);
    }
  }

  async resize(buildId: string, rows: number, columns: number): Promise<void> {
    const resize = this.#kept.get(buildId)?.resize;
    if (resize === undefined)
      throw new GantryError("not-found", `no shell in a failed step of build ${buildId} is open`);
    await resize(rows, columns);
  }

  shell(buildId: string): ShellState {
    const kept = this.#kept.get(buildId);
    if (kept !== undefined) return { status: kept.shell === undefined ? "kept" : "open" };
    const code = this.#ended.get(buildId);
    if (code === undefined) throw new GantryError("not-found", `no failed step of build ${buildId} is kept`);
    return { status: "ended", exitCode: code };
  }

  /** Ends all shells; resolves when nothing is left. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const buildId of [...this.#kept.keys()]) this.#drop(buildId);
    while (this.#releasing.size > 0) await Promise.all(this.#releasing);
  }

  #drop(buildId: string, only = this.#kept.get(buildId)): void {
    if (only === undefined || this.#kept.get(buildId) !== only) return;
    this.#kept.delete(buildId);
    only.forget();
    only.ending.abort();
    const released = this.#release(only);
    this.#releasing.add(released);
    void released.then(() => this.#releasing.delete(released));
  }

  async #release({ step, shell }: Kept): Promise<void> {
    await shell;
    try {
      await step.release();
    } catch (error) {
      this.#log.error(`cannot let go of a failed step: ${messageOf(error)}`, { build: step.buildId });
    }
  }

  #remember(buildId: string, code: number): void {
    this.#ended.set(buildId, code);
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > MOST_ENDED && oldest !== undefined) this.#ended.delete(oldest);
  }
}

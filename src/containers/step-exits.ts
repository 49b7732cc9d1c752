import type { ProcessExit, ProcessRuntime } from "../runtime/process.ts";

/** An exit that somebody waits for, until it is disposed. */
export interface ExpectedExit extends Disposable {
  readonly exit: Promise<ProcessExit>;
  /** It has ended though nobody told of it. */
  end(exit: ProcessExit): void;
}

/** How the processes of steps end, each told to who runs it. */
export class StepExits {
  readonly #runtime: Pick<ProcessRuntime, "onExit">;
  readonly #expected = new Map<string, (exit: ProcessExit) => void>();
  #isListening = false;

  constructor(runtime: Pick<ProcessRuntime, "onExit">) {
    this.#runtime = runtime;
  }

  /** Of a step's first process, or of one that was started in its jail. */
  expect(id: string, execId?: string): ExpectedExit {
    this.#listen();
    const name = nameOf(id, execId);
    const { promise, resolve } = Promise.withResolvers<ProcessExit>();
    this.#expected.set(name, resolve);
    return { exit: promise, end: resolve, [Symbol.dispose]: () => void this.#expected.delete(name) };
  }

  isExpected(id: string): boolean {
    return this.#expected.has(id);
  }

  /** Only when there is one to listen for: exits that nobody heard of yet are first of all the containers'. */
  #listen(): void {
    if (this.#isListening) return;
    this.#isListening = true;
    this.#runtime.onExit((exit) => {
      this.#expected.get(nameOf(exit.id, exit.execId))?.(exit);
    });
  }
}

function nameOf(id: string, execId: string | undefined): string {
  return execId === undefined ? id : `${id} ${execId}`;
}

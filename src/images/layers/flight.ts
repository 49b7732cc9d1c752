import { cancelled } from "../../base/abort.ts";
import type { LayerStep, LayerWish, OpenBlob } from "../ports.ts";

type OnProgress = (step: LayerStep, current: number, total: number) => void;

/** One of those who wait for a layer. */
export interface Asker {
  readonly wish: LayerWish;
  readonly open: OpenBlob;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: OnProgress | undefined;
}

/**
 * One piece of work that any number of askers wait for. It ends early only when all of them have given up; each asker
 * sees its progress, whoever was the first.
 */
export class Flight<T> {
  readonly signal: AbortSignal;
  /** True if the way to the blob failed that was tried last: another asker's may be a better one. */
  hasLostWay = false;
  readonly #controller = new AbortController();
  readonly #askers = new Set<Asker>();
  readonly #parent = Promise.withResolvers<void>();
  readonly #parentless = new Map<Asker, unknown>();
  #last: Parameters<OnProgress> | undefined;
  #done: Promise<T> | undefined;

  constructor() {
    this.signal = this.#controller.signal;
    // Nobody may come to ask for it.
    this.#parent.promise.catch(() => {});
  }

  /** The step that was told last. */
  get step(): LayerStep | undefined {
    return this.#last?.[0];
  }

  /** Resolves when one of the askers has brought the parent about; rejects when none of them will. */
  get parentReady(): Promise<void> {
    return this.#parent.promise;
  }

  /** The askers' ways to the blob. */
  get opens(): OpenBlob[] {
    return [...this.#askers].map(({ open }) => open);
  }

  begin(work: () => Promise<T>): void {
    this.#done = work();
    this.#done.catch(() => {});
  }

  tell(step: LayerStep, current: number, total: number): void {
    this.#last = [step, current, total];
    for (const { onProgress } of this.#askers) onProgress?.(step, current, total);
  }

  /** Resolves with the result. An abort rejects; that of the last asker only when all is cleared away. */
  async join(asker: Asker): Promise<T> {
    const { signal } = asker;
    if (signal?.aborted === true) {
      await this.#leave(asker);
      throw cancelled();
    }
    this.#askers.add(asker);
    if (this.#last !== undefined) asker.onProgress?.(...this.#last);
    asker.wish.parentReady.then(
      () => this.#parent.resolve(),
      (error: unknown) => {
        this.#parentless.set(asker, error);
        this.#judgeParents();
      },
    );
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const stop = (): void => void this.#leave(asker).then(() => reject(cancelled()));
    signal?.addEventListener("abort", stop, { once: true });
    this.#done!.then(resolve, (error: unknown) => {
      if (signal?.aborted !== true) reject(error);
    });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#askers.delete(asker);
    }
  }

  async #leave(asker: Asker): Promise<void> {
    this.#askers.delete(asker);
    if (this.#askers.size > 0) {
      this.#judgeParents();
      return;
    }
    this.#controller.abort();
    this.#parent.reject(cancelled());
    await this.#done?.catch(() => {});
  }

  #judgeParents(): void {
    const askers = [...this.#askers];
    const [first] = askers;
    if (first !== undefined && askers.every((asker) => this.#parentless.has(asker))) {
      this.#parent.reject(this.#parentless.get(first));
    }
  }
}

/** All that goes on for one build: none of it goes on unwatched. */
export class UnderWay {
  readonly #controller = new AbortController();
  readonly #works = new Set<Promise<unknown>>();

  /** Aborted when all of it is to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(): void {
    this.#controller.abort();
  }

  /** Notes work, so that its end is waited for whoever still wants its result. */
  note<T>(work: Promise<T>): Promise<T> {
    const noted = work.then(
      () => {},
      () => {},
    );
    this.#works.add(noted);
    void noted.then(() => this.#works.delete(noted));
    return work;
  }

  /** All of several, ended when all are: none goes on unwatched. */
  all<T>(works: readonly Promise<T>[]): Promise<T[]> {
    return Promise.all(works.map((work) => this.note(work)));
  }

  /** Ends it, and waits for that. */
  async end(): Promise<void> {
    this.abort();
    while (this.#works.size > 0) await Promise.allSettled(this.#works);
  }
}

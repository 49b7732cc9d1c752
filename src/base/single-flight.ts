/** Work that many ask for at once is done once: who comes while it is under way gets its result. */
export class SingleFlight<T> {
  #underWay: Promise<T> | undefined;
  readonly #act: () => Promise<T>;

  constructor(act: () => Promise<T>) {
    this.#act = act;
  }

  run(): Promise<T> {
    this.#underWay ??= this.#act().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }
}

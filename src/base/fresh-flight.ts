/**
 * Work of which one run serves all who asked before it began, such as a sync of the disk: who asks while one is under
 * way gets the next, together with all who ask until then.
 */
export class FreshFlight {
  readonly #act: () => Promise<void>;
  #underWay: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(act: () => Promise<void>) {
    this.#act = act;
  }

  run(): Promise<void> {
    if (this.#next !== undefined) return this.#next;
    if (this.#underWay === undefined) return this.#begin();
    this.#next = this.#underWay
      .catch(() => {
        // Told to those who asked for that run.
      })
      .then(() => {
        this.#next = undefined;
        return this.#begin();
      });
    return this.#next;
  }

  #begin(): Promise<void> {
    this.#underWay = this.#act().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }
}

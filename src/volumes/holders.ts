import { EventEmitter, once } from "node:events";

/** How long who needs a volume for itself waits for its last holder to be cleaned up. */
const RELEASE_MS = 5_000;

/** Who holds which volume, by the volume's name, and the wait for that to end. */
export class Holders {
  readonly #holders = new Map<string, Set<string>>();
  readonly #released = new EventEmitter();

  constructor() {
    this.#released.setMaxListeners(0);
  }

  has(volume: string): boolean {
    return this.#holders.has(volume);
  }

  of(volume: string): readonly string[] {
    return [...(this.#holders.get(volume) ?? [])];
  }

  heldBy(holder: string): string[] {
    return [...this.#holders].filter(([, holders]) => holders.has(holder)).map(([volume]) => volume);
  }

  add(volume: string, holder: string): void {
    this.#holders.set(volume, (this.#holders.get(volume) ?? new Set()).add(holder));
  }

  /** True if it was the last one: say `released` when what that means is done. */
  remove(volume: string, holder: string): boolean {
    const holders = this.#holders.get(volume);
    if (holders?.delete(holder) !== true || holders.size > 0) return false;
    this.#holders.delete(volume);
    return true;
  }

  /** With a volume that is no more. */
  forget(volume: string): void {
    this.#holders.delete(volume);
  }

  released(): void {
    this.#released.emit("released");
  }

  /**
   * Waits until `isDone`, but for a few seconds only. It is asked after each release or, where there is one, after what
   * `next` waits for; what it throws ends the wait.
   */
  async until(isDone: () => boolean, next: () => Promise<void> | undefined = () => undefined): Promise<void> {
    const signal = AbortSignal.timeout(RELEASE_MS);
    while (!isDone() && !signal.aborted) {
      const change = next() ?? once(this.#released, "released", { signal });
      await Promise.race([change, once(signal, "abort")]).catch(() => {});
    }
  }
}

import type { Endpoint } from "./endpoint.ts";

const AVOIDED_MS = 60_000;
const TRUSTED_MS = 60_000;
const MOST_KEPT = 256;

/** Which endpoints answered lately: those that didn't are asked last for a while, instead of waited for each time. */
export class Reachability {
  readonly #failed = new Map<string, number>();
  readonly #answered = new Map<string, number>();

  /** The endpoints in the order to ask them; who answers keeps its place. */
  order<T extends { readonly endpoint: Endpoint }>(given: readonly T[]): T[] {
    const now = performance.now();
    const isAvoided = ({ endpoint }: T): boolean => (this.#failed.get(keyOf(endpoint)) ?? 0) > now;
    return [...given.filter((one) => !isAvoided(one)), ...given.filter(isAvoided)];
  }

  /** True for one that answered when it was last asked, and not long ago. */
  hasAnswered(endpoint: Endpoint): boolean {
    return (this.#answered.get(keyOf(endpoint)) ?? 0) > performance.now();
  }

  answered(endpoint: Endpoint): void {
    const key = keyOf(endpoint);
    this.#failed.delete(key);
    if (this.#answered.size >= MOST_KEPT) this.#answered.clear();
    this.#answered.set(key, performance.now() + TRUSTED_MS);
  }

  failed(endpoint: Endpoint): void {
    this.#answered.delete(keyOf(endpoint));
    if (this.#failed.size >= MOST_KEPT) this.#failed.clear();
    this.#failed.set(keyOf(endpoint), performance.now() + AVOIDED_MS);
  }
}

/** A certificate that was refused says nothing of the same address where any will do. */
function keyOf({ base, verify }: Endpoint): string {
  return `${verify ? "" : "any "}${base}`;
}

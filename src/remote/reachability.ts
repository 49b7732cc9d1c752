import type { Endpoint } from "./endpoint.ts";
import type { RemotePorts } from "./settings.ts";

const AVOIDED_MS = 60_000;
const TRUSTED_MS = 60_000;
const TOLD_MS = 60_000;
const MOST_KEPT = 256;

/** Which endpoints answered lately: those that didn't are asked last for a while, instead of waited for each time. */
export class Reachability {
  readonly #failed = new Map<string, number>();
  readonly #answered = new Map<string, number>();
  readonly #told = new Map<string, number>();
  readonly #onPassedOver: RemotePorts["onPassedOver"];

  constructor(ports: Pick<RemotePorts, "onPassedOver"> = {}) {
    this.#onPassedOver = ports.onPassedOver;
  }

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

  /** Another endpoint is asked in place of this one: told of mirrors, which nobody else hears of. */
  passedOver(endpoint: Endpoint, failure: unknown): void {
    const now = performance.now();
    if (!endpoint.isMirror || (this.#told.get(endpoint.base) ?? 0) > now) return;
    if (this.#told.size >= MOST_KEPT) this.#told.clear();
    this.#told.set(endpoint.base, now + TOLD_MS);
    this.#onPassedOver?.(endpoint.host, failure);
  }
}

/** A certificate that was refused says nothing of the same address where any will do. */
function keyOf({ base, verify }: Endpoint): string {
  return `${verify ? "" : "any "}${base}`;
}

import { GantryError } from "../../base/errors.ts";
import type { OpenRoot } from "../root.ts";
import type { HandedResult } from "./handed-result.ts";

/** Results that a client looks into, open from the first look until the end of its build. */
export class LookedResults implements AsyncDisposable {
  readonly #open = new Map<string, Promise<OpenRoot>>();
  #isEnded = false;

  /** Builds it first, if nobody did. */
  look(id: string, result: HandedResult): Promise<OpenRoot> {
    if (this.#isEnded) throw ended();
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const opening = opened(id, result);
    this.#open.set(id, opening);
    // Whoever asks is told; what failed may be tried again.
    opening.catch(() => this.#open.delete(id));
    return opening;
  }

  /** Lets go of all. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    const all = await Promise.allSettled(this.#open.values());
    for (const one of all) if (one.status === "fulfilled") await one.value[Symbol.asyncDispose]();
  }
}

async function opened(id: string, result: HandedResult): Promise<OpenRoot> {
  const { root } = await result.madeFor(platformIn(id));
  if (root === undefined) throw new GantryError("not-found", "the result is empty: it has no files");
  // The end of the build may come before the root is open.
  await using held = root.share();
  return await held.open();
}

/** Results of several platforms are told apart by these, behind the name that all have. */
export function platformIn(id: string): string {
  const slash = id.indexOf("/");
  return slash < 0 ? "" : id.slice(slash + 1);
}

function ended(): GantryError {
  return new GantryError("not-found", "the build whose result is looked at has ended");
}

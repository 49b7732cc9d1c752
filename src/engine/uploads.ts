import type { Readable } from "node:stream";
import { untilAborted } from "../base/abort.ts";
import { GantryError } from "../base/errors.ts";

/** A build and its archive come as two requests, in any order. */
const PATIENCE_MS = 5_000;

interface Upload {
  readonly bytes: Readable;
  /** Lets the request that brought it be answered. */
  readonly done: () => void;
}

/** Archives that come by a request of their own, for the build whose id they have. */
export class Uploads {
  readonly #offered = new Map<string, PromiseWithResolvers<Upload>>();

  /** Resolves when a build has read it. Rejects if none comes for it. */
  async offer(id: string, bytes: Readable, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const taken = this.#meeting(id);
    const hasTaker = Promise.withResolvers<void>();
    let isTaken = false;
    taken.resolve({
      get bytes() {
        isTaken = true;
        hasTaker.resolve();
        return bytes;
      },
      done: resolve,
    });
    const timer = setTimeout(hasTaker.resolve, PATIENCE_MS);
    try {
      await untilAborted(hasTaker.promise, signal);
      if (!isTaken)
        throw new GantryError("not-found", `no build ${JSON.stringify(id.slice(0, 100))} waits for an upload`);
      await untilAborted(promise, signal);
    } finally {
      clearTimeout(timer);
      if (this.#offered.get(id) === taken) this.#offered.delete(id);
    }
  }

  /** Waits a while for it. */
  async take(id: string, signal: AbortSignal): Promise<Upload> {
    const meeting = this.#meeting(id);
    const timer = setTimeout(() => {
      meeting.reject(new GantryError("invalid", "the upload of the context did not come in time"));
    }, PATIENCE_MS);
    try {
      const { bytes, done } = await untilAborted(meeting.promise, signal);
      return { bytes, done };
    } finally {
      clearTimeout(timer);
      if (this.#offered.get(id) === meeting) this.#offered.delete(id);
    }
  }

  #meeting(id: string): PromiseWithResolvers<Upload> {
    let meeting = this.#offered.get(id);
    if (meeting === undefined) {
      meeting = Promise.withResolvers<Upload>();
      // Heard by whoever waits, if anybody does.
      meeting.promise.catch(() => {});
      this.#offered.set(id, meeting);
    }
    return meeting;
  }
}

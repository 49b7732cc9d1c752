import { hasCode } from "../../base/errors.ts";
import { Readiness } from "../readiness.ts";
import { goneLink } from "./link.ts";
import { NetlinkSocket, PROTOCOL } from "./socket.ts";

/** rtnetlink(7): links come, change and go. */
const LINK_GROUP = 1;
/** Each hears of all links: many at once would hear of each other's more than of their own. */
const MOST = 8;

/**
 * Watches for a link's going in the network namespace that the thread is in. The kernel tells of it when nobody finds
 * the link any more, and lets whoever deleted it wait for its memory, twenty milliseconds longer.
 */
export class Departure {
  readonly #socket = new NetlinkSocket(PROTOCOL.route, LINK_GROUP);
  readonly #readiness: Readiness;
  /** Settles when the link has gone; never, if it stays. */
  readonly gone: Promise<void>;
  static #count = 0;

  /** Undefined if as many are watched for as may be. */
  static of(target: string | number): Departure | undefined {
    return Departure.#count < MOST ? new Departure(target) : undefined;
  }

  private constructor(target: string | number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.gone = promise;
    this.#readiness = new Readiness(this.#socket.fd, () => {
      try {
        for (const message of this.#socket.news() ?? []) {
          const link = goneLink(message);
          if (link !== undefined && (link.index === target || link.name === target)) resolve();
        }
      } catch (error) {
        // Too much was told at once (ENOBUFS): the answer to the deletion itself is there soon.
        if (!hasCode(error, "ENOBUFS")) throw error;
      }
    });
    this.#readiness.watch(true);
    Departure.#count++;
  }

  [Symbol.dispose](): void {
    Departure.#count--;
    this.#readiness.close();
    this.#socket.close();
  }
}

import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Firewall } from "./firewall.ts";

/** Rules change in bursts. */
const SETTLE_MS = 100;
/** Who is asked just then has so long to answer. */
const PATIENCE_MS = 2_000;

/**
 * Holds flows of datagrams against the host's rules again after these have changed. A service of the host's own is
 * reached by each datagram as far as the rules of that moment let it, until it has answered one. Where the kernel leads
 * to a container, only a flow's first packet meets the rules: so flows that stay unanswered are forgotten, and their next
 * packet is a first one.
 */
export class DatagramJudge {
  readonly #firewall: Pick<Firewall, "unanswered" | "judgeAnew">;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  /** The rules have changed since the flows were looked at. */
  #isStale = false;
  #isClosed = false;

  constructor(firewall: Pick<Firewall, "unanswered" | "judgeAnew">, logger: Logger) {
    this.#firewall = firewall;
    this.#logger = logger;
  }

  rulesChanged(): void {
    this.#isStale = true;
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#in(SETTLE_MS, () => {
      this.#isStale = false;
      const flows = this.#firewall.unanswered();
      if (flows.size === 0) return this.#settled();
      this.#in(PATIENCE_MS, () => {
        this.#firewall.judgeAnew(flows);
        this.#settled();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #settled(): void {
    this.#timer = undefined;
    if (this.#isStale) this.rulesChanged();
  }

  #in(ms: number, act: () => void): void {
    this.#timer = setTimeout(() => {
      try {
        act();
      } catch (error) {
        const cause = messageOf(error);
        this.#logger.warn("the host's new rules don't count yet for datagrams that nobody answers", { cause });
        this.#settled();
      }
    }, ms).unref();
  }
}

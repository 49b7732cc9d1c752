import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { NftChanger } from "../kernel/nft-watch.ts";
import { DatagramJudge } from "./datagram-judge.ts";
import type { Firewall } from "./firewall.ts";

/** Who comes again within this time is taken to be the one of before. */
const CALM_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;

export interface FirewallGuardPorts {
  readonly firewall: Pick<Firewall, "watch" | "detach" | "exists" | "restore" | "unanswered" | "judgeAnew">;
  readonly logger: Logger;
  /** The tables are in place again; once a disturbance, however often it repeats. */
  readonly onRestored: (by: string) => void;
  /** Another program has changed rules of its own. */
  readonly onOther: () => void;
}

/**
 * Puts the engine's tables in place again when another program has flushed or changed them: at once the first time,
 * and after ever longer pauses for one that does it again and again.
 */
export class FirewallGuard {
  readonly #ports: FirewallGuardPorts;
  #timer: NodeJS.Timeout | undefined;
  readonly #judge: DatagramJudge;
  #pauseMs = 0;
  #restoredAt = Number.NEGATIVE_INFINITY;

  constructor(ports: FirewallGuardPorts) {
    this.#ports = ports;
    this.#judge = new DatagramJudge(ports.firewall, ports.logger);
    ports.firewall.watch(
      (by) => this.#disturbed(by),
      () => {
        ports.onOther();
        this.#judge.rulesChanged();
      },
    );
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#judge.close();
    this.#timer = undefined;
    this.#ports.firewall.detach();
  }

  #disturbed(by: NftChanger | undefined): void {
    if (this.#timer !== undefined) return;
    const isCalm = performance.now() - this.#restoredAt > CALM_MS;
    if (isCalm) this.#pauseMs = 0;
    else this.#lengthenPause();
    this.#restoreSoon(by, isCalm);
  }

  #lengthenPause(): void {
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, this.#pauseMs * 2));
  }

  /** Not from within the watch, which may be telling of it in the midst of a change of our own. */
  #restoreSoon(by: NftChanger | undefined, isFirst: boolean): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#restore(by, isFirst);
    }, this.#pauseMs).unref();
  }

  #restore(by: NftChanger | undefined, isFirst: boolean): void {
    const { firewall, logger, onRestored } = this.#ports;
    try {
      // Where the kernel lost count it was most likely the engine's own.
      if (by === undefined && firewall.exists()) return;
      firewall.restore();
    } catch (error) {
      logger.error("the packet filter's tables could not be put in place again: it is tried again", {
        cause: messageOf(error),
      });
      this.#lengthenPause();
      this.#restoreSoon(by, isFirst);
      return;
    } finally {
      this.#restoredAt = performance.now();
    }
    if (!isFirst) return;
    const who = by === undefined ? "unknown" : `${by.name} (process ${by.pid})`;
    logger.warn("another program changed or flushed the engine's packet filter: it is put in place again", { by: who });
    onRestored(who);
  }
}

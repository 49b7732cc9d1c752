import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { type ForwardObstacle, forwardObstacles } from "../kernel/foreign-forward.ts";
import type { PublishMode } from "./firewall.ts";

/** Another program that changes its rules has so long to come to an end before they are read. */
const SETTLE_MS = 1000;

/** What other programs' rules do to the packets of the engine's bridges; each obstacle is told in the log when it appears. */
export class ForeignRules {
  readonly #bridge: string;
  readonly #publish: PublishMode;
  readonly #logger: Logger;
  readonly #read: (bridge: string) => Promise<ForwardObstacle[]>;
  #obstacles: readonly ForwardObstacle[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isReading = false;
  #isClosed = false;

  constructor(ports: {
    bridge: string;
    publish: PublishMode;
    logger: Logger;
    read?: (bridge: string) => Promise<ForwardObstacle[]>;
  }) {
    this.#bridge = ports.bridge;
    this.#publish = ports.publish;
    this.#logger = ports.logger;
    this.#read = ports.read ?? forwardObstacles;
    void this.#look();
  }

  /** What keeps published ports from being reached by other machines; undefined if nothing is known to. */
  get warning(): string | undefined {
    const [first] = this.#obstacles;
    // What the host's input rules let in is led around the rules for what is forwarded.
    if (first === undefined || this.#publish === "respect-host-firewall") return undefined;
    return `Published ports can't be reached from other machines: ${first.program} drops forwarded packets (${first.where}). Let them through: ${first.commands.join(" && ")}`;
  }

  /** Somebody has changed rules. */
  changed(): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#look();
    }, SETTLE_MS);
    this.#timer.unref();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#isReading) return this.changed();
    this.#isReading = true;
    try {
      const before = new Set(this.#obstacles.map(({ where }) => where));
      this.#obstacles = await this.#read(this.#bridge);
      for (const { program, where, commands } of this.#obstacles) {
        if (before.has(where) || this.#isClosed) continue;
        this.#logger.warn(
          `another program's firewall drops forwarded packets: containers can't reach other machines${this.#publish === "open" ? ", or be reached from there," : ""} until it accepts their bridge`,
          { program, where, bridge: this.#bridge, mend: commands.join(" && ") },
        );
      }
    } catch (error) {
      this.#logger.debug("cannot ask for other programs' packet filters", { cause: messageOf(error) });
    } finally {
      this.#isReading = false;
    }
  }
}

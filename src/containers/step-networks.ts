import { newId } from "./create.ts";
import { type Joined, joinNetworks } from "./joining.ts";
import type { ContainerPorts } from "./ports.ts";
import type { StepShape } from "./step-spec.ts";

/** The id of a step that begins, and what it has of networks. */
export interface StepNetwork {
  readonly id: string;
  readonly network: Joined;
}

interface Spare extends StepNetwork {
  readonly hostname: string;
  readonly undo: AsyncDisposableStack;
}

/** Of other networks it would be seen that somebody is on them. */
const SPARED = "bridge";
/** Steps that come later than so after one another are of no one build. */
const SOON_MS = 5000;
/** A build that goes on has its next step sooner. */
const KEPT_MS = 200;

/**
 * Puts steps on their networks. That of the step after the one that runs is made while it runs, where steps come one
 * after the other: it is a third of what a step costs besides its command.
 */
export class StepNetworks {
  readonly #ports: Pick<ContainerPorts, "networks" | "settings">;
  readonly #onError: (error: unknown) => void;
  #spare: Promise<Spare | undefined> | undefined;
  #running = 0;
  /** When a step ended last. */
  #last = 0;
  #expiry: NodeJS.Timeout | undefined;
  readonly #dropping = new Set<Promise<void>>();

  constructor(ports: Pick<ContainerPorts, "networks" | "settings">, onError: (error: unknown) => void) {
    this.#ports = ports;
    this.#onError = onError;
  }

  /** Joins the networks of a step; `undo` leaves them. */
  async join({ config, hostConfig }: StepShape, undo: AsyncDisposableStack): Promise<StepNetwork> {
    if (hostConfig.NetworkMode === SPARED && this.#spare !== undefined) {
      const spare = await this.#take();
      if (spare !== undefined) {
        undo.use(spare.undo);
        if (spare.hostname === config.Hostname) return spare;
      }
    }
    const id = newId();
    return { id, network: await this.#join(id, { config, hostConfig }, undo) };
  }

  /** A step has started; what it gives is disposed of when it has ended. */
  began({ config, hostConfig }: StepShape): Disposable {
    this.#running++;
    const isOneOfMany = Date.now() - this.#last < SOON_MS;
    if (isOneOfMany && hostConfig.NetworkMode === SPARED) this.#spare ??= this.#make({ config, hostConfig });
    // Next to a long step it is an address that somebody else may need.
    this.#dropIn(SOON_MS);
    const ended = () => {
      this.#last = Date.now();
      if (--this.#running === 0) this.#dropIn(KEPT_MS);
    };
    return { [Symbol.dispose]: ended };
  }

  /** Resolves when no spare is left. */
  async quiet(): Promise<void> {
    clearTimeout(this.#expiry);
    this.#drop();
    while (this.#dropping.size > 0) await Promise.all(this.#dropping);
  }

  async #take(): Promise<Spare | undefined> {
    const spare = this.#spare;
    this.#spare = undefined;
    return spare;
  }

  /** Never rejects: the step that needs it joins by itself, and is told what is wrong. */
  async #make(shape: StepShape): Promise<Spare | undefined> {
    const undo = new AsyncDisposableStack();
    try {
      // The step that runs has its processor first.
      await new Promise((resolve) => setImmediate(resolve));
      const id = newId();
      const network = await this.#join(id, shape, undo);
      return { id, hostname: shape.config.Hostname, network, undo };
    } catch {
      await undo.disposeAsync().catch(this.#onError);
      return undefined;
    }
  }

  #dropIn(milliseconds: number): void {
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => this.#drop(), milliseconds);
    this.#expiry.unref();
  }

  #drop(): void {
    const spare = this.#spare;
    if (spare === undefined) return;
    this.#spare = undefined;
    const dropped = spare.then((one) => one?.undo.disposeAsync()).catch(this.#onError);
    this.#dropping.add(dropped);
    void dropped.then(() => this.#dropping.delete(dropped));
  }

  #join(id: string, { config, hostConfig }: StepShape, undo: AsyncDisposableStack): Promise<Joined> {
    const mode = hostConfig.NetworkMode;
    const endpoints = mode === "host" || mode === "none" ? {} : { [mode]: {} };
    return joinNetworks(this.#ports, { id, name: `build-${id.slice(0, 12)}`, config, hostConfig, endpoints }, undo);
  }
}

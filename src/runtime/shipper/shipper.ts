import { messageOf } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { ControlConnection } from "../control-connection.ts";
import type { Shipment, ShipmentEvent } from "../shipment.ts";
import type { FromShipper, ToShipper } from "../shipper-protocol.ts";
import { openSender } from "./open-sender.ts";
import type { LogSender } from "./sender.ts";
import { ShipmentRun } from "./shipment-run.ts";

/** With nothing to ship for so long it ends; the engine starts another when there is. */
const IDLE_MS = 30_000;

/** The shipments of one engine. */
export class Shipper {
  readonly #runs = new Map<string, ShipmentRun>();
  readonly #connections = new Set<ControlConnection>();
  readonly #lock = new KeyedLock();
  readonly #quit: () => void;
  #idle: NodeJS.Timeout | undefined;

  constructor(quit: () => void) {
    this.#quit = quit;
    this.#watchIdle();
  }

  serve(fd: number): void {
    const connection = new ControlConnection(
      fd,
      (message) => void this.#answer(connection, message as ToShipper),
      () => this.#connections.delete(connection),
    );
    this.#connections.add(connection);
  }

  async #answer(connection: ControlConnection, message: ToShipper): Promise<void> {
    clearTimeout(this.#idle);
    switch (message.op) {
      case "ship":
        return this.#reply(connection, message.request, () => this.#ship(message.shipment, message.check));
      case "forget":
        return this.#reply(connection, message.request, () => this.#forget(message.id));
      case "finish":
        return await this.#lock.run(message.id, () => this.#runs.get(message.id)?.finish());
      case "shutdown":
        await Promise.all([...this.#runs.keys()].map((id) => this.#forget(id)));
        this.#quit();
    }
  }

  async #reply(connection: ControlConnection, reply: number, act: () => Promise<void>): Promise<void> {
    let answer: FromShipper = { reply };
    try {
      await act();
    } catch (error) {
      answer = { reply, error: messageOf(error) };
    }
    connection.send(answer);
    this.#watchIdle();
  }

  async #ship(shipment: Shipment, check: boolean): Promise<void> {
    const { id, service } = shipment;
    await this.#lock.run(id, async () => {
      let sender: LogSender | undefined;
      if (check) {
        sender = openSender(service);
        try {
          await sender.connect(AbortSignal.timeout(15_000));
        } catch (error) {
          sender.close();
          throw error;
        }
      }
      const run = this.#runs.get(id);
      if (run === undefined) {
        this.#runs.set(id, new ShipmentRun(shipment, sender, (event) => this.#tell(event)));
        return;
      }
      sender?.close();
      run.goOn(shipment);
    });
  }

  async #forget(id: string): Promise<void> {
    await this.#lock.run(id, async () => {
      const run = this.#runs.get(id);
      this.#runs.delete(id);
      await run?.stop();
    });
  }

  #tell(event: ShipmentEvent): void {
    if (event.event === "done") this.#runs.delete(event.id);
    for (const connection of this.#connections) connection.send(event satisfies FromShipper);
    this.#watchIdle();
  }

  #watchIdle(): void {
    clearTimeout(this.#idle);
    if (this.#runs.size === 0) this.#idle = setTimeout(this.#quit, IDLE_MS);
  }
}

import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { ControlConnection } from "./control-connection.ts";
import { findHelper, type HelperPlace, startHelper } from "./helper-start.ts";
import type { LogShipping, Shipment, ShipmentEvent } from "./shipment.ts";
import { type FromShipper, SHIPPER_NAME, type ToShipper } from "./shipper-protocol.ts";

const ANSWER_MS = 30_000;
const RETRY_MS = 1000;

export interface LogShipperOptions {
  readonly execRoot: string;
  readonly nodePath: string;
  readonly shipperScript: string;
  readonly log: Logger;
}

interface Wanted {
  readonly shipment: Shipment;
  readonly isFinished: boolean;
}

/**
 * The engine's side of the shipper, which is started with the first shipment and goes on when the engine ends. One that
 * dies is started again and told what it is to do.
 */
export class LogShipper implements LogShipping {
  readonly #place: HelperPlace;
  readonly #log: Logger;
  readonly #wanted = new Map<string, Wanted>();
  readonly #pending = new Map<number, (error: string | undefined) => void>();
  readonly #listeners: ((event: ShipmentEvent) => void)[] = [];
  #connection: ControlConnection | undefined;
  #connecting: Promise<ControlConnection> | undefined;
  #number = 0;
  #closed: PromiseWithResolvers<void> | undefined;

  constructor({ execRoot, nodePath, shipperScript, log }: LogShipperOptions) {
    this.#place = { name: SHIPPER_NAME, execRoot, nodePath, script: shipperScript };
    this.#log = log;
  }

  onEvent(listener: (event: ShipmentEvent) => void): void {
    this.#listeners.push(listener);
  }

  async ship(shipment: Shipment, { check }: { readonly check: boolean }): Promise<void> {
    await this.#ask({ op: "ship", request: ++this.#number, shipment, check });
    this.#wanted.set(shipment.id, { shipment, isFinished: false });
  }

  finish(id: string): void {
    const wanted = this.#wanted.get(id);
    if (wanted === undefined) return;
    this.#wanted.set(id, { ...wanted, isFinished: true });
    this.#connection?.send({ op: "finish", id } satisfies ToShipper);
  }

  async forget(id: string): Promise<void> {
    if (!this.#wanted.delete(id)) return;
    if (this.#connection !== undefined) await this.#ask({ op: "forget", request: ++this.#number, id });
  }

  /** Ends the shipper; what it did not send is sent when an engine asks for it again. */
  async shutdown(): Promise<void> {
    this.#closed ??= Promise.withResolvers();
    this.#wanted.clear();
    const connection = this.#connection ?? this.#adopt();
    if (connection === undefined) return;
    connection.send({ op: "shutdown" } satisfies ToShipper);
    await this.#closed.promise;
  }

  /** Lets go of the shipper, which goes on. */
  close(): void {
    this.#closed ??= Promise.withResolvers();
    this.#connection?.close();
  }

  async #ask(message: ToShipper & { readonly request: number }): Promise<void> {
    const connection = await this.#connected();
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#pending.set(message.request, resolve);
    const timer = setTimeout(() => resolve("the log shipper does not answer"), ANSWER_MS);
    connection.send(message);
    const error = await promise;
    clearTimeout(timer);
    this.#pending.delete(message.request);
    if (error !== undefined) throw new GantryError("internal", error);
  }

  async #connected(): Promise<ControlConnection> {
    if (this.#closed !== undefined) throw new GantryError("unavailable", "the log shipper was let go");
    if (this.#connection !== undefined) return this.#connection;
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return await this.#connecting;
  }

  async #connect(): Promise<ControlConnection> {
    const connection = this.#adopt() ?? this.#serveBy(await startHelper(this.#place));
    for (const [id, { shipment, isFinished }] of this.#wanted) {
      connection.send({ op: "ship", request: ++this.#number, shipment, check: false } satisfies ToShipper);
      if (isFinished) connection.send({ op: "finish", id } satisfies ToShipper);
    }
    return connection;
  }

  #adopt(): ControlConnection | undefined {
    const fd = findHelper(this.#place);
    return fd === undefined ? undefined : this.#serveBy(fd);
  }

  #serveBy(fd: number): ControlConnection {
    const connection: ControlConnection = new ControlConnection(
      fd,
      (message) => this.#received(message as FromShipper),
      () => this.#lost(connection),
    );
    this.#connection = connection;
    return connection;
  }

  #received(message: FromShipper): void {
    if ("reply" in message) {
      this.#pending.get(message.reply)?.(message.error);
      return;
    }
    if (message.event === "done") {
      // It was started again meanwhile: then there is more to come.
      if (this.#wanted.get(message.id)?.isFinished === true) this.#wanted.delete(message.id);
    }
    for (const listener of this.#listeners) listener(message);
  }

  #lost(connection: ControlConnection): void {
    if (this.#connection === connection) this.#connection = undefined;
    for (const resolve of this.#pending.values()) resolve("the log shipper has gone");
    this.#pending.clear();
    if (this.#closed !== undefined) this.#closed.resolve();
    else if (this.#wanted.size > 0) void this.#revive();
  }

  async #revive(): Promise<void> {
    this.#log.warn("the log shipper has gone: starting it again");
    while (this.#closed === undefined && this.#connection === undefined) {
      try {
        await this.#connected();
      } catch (error) {
        this.#log.error("cannot start the log shipper", { error: messageOf(error) });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import type { LogShipping, Shipment, ShipmentEvent } from "../runtime/shipment.ts";
import { publishContainerEvent } from "./event.ts";
import { logTargetOf } from "./log.ts";
import { isLogDriver, readPatience } from "./log-options.ts";
import { logServiceOf } from "./log-service.ts";
import type { ContainerSettings, LogForwarding } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";
import { containerFolder } from "./view.ts";

/** How long a container's files stay behind its removal for the lines that were not sent. */
const RELEASE_MS = 5000;

export interface ShippedLogsPorts {
  readonly shipping: LogShipping;
  readonly events: EventBus;
  readonly log: Logger;
  readonly settings: () => ContainerSettings;
  /** So many lines were given up, so many bytes were sent. */
  readonly onDropped: (lines: number) => void;
  readonly onShipped: (bytes: number) => void;
}

/** The containers whose logs are sent to a log service. What they print is kept here first, and sent from there. */
export class ShippedLogs implements LogForwarding {
  readonly #ports: ShippedLogsPorts;
  readonly #records = new Map<string, ContainerRecord>();
  readonly #done = new Map<string, PromiseWithResolvers<void>>();

  constructor(ports: ShippedLogsPorts) {
    this.#ports = ports;
  }

  async begin(record: ContainerRecord): Promise<void> {
    try {
      const shipment = this.#shipmentOf(record);
      // The options of the drivers that keep their logs here are looked at as well.
      if (shipment === undefined) logTargetOf(record, this.#ports.settings());
      else await this.#ship(record, shipment, !startsWithoutIt(shipment));
    } catch (error) {
      throw new GantryError("internal", `failed to initialize logging driver: ${messageOf(error)}`);
    }
  }

  ended(id: string): void {
    if (this.#records.has(id)) this.#ports.shipping.finish(id);
  }

  async release(id: string): Promise<void> {
    if (!this.#records.has(id)) return;
    this.#ports.shipping.finish(id);
    const stop = new AbortController();
    const late = delay(RELEASE_MS, "late", { signal: stop.signal }).catch(() => "late");
    const outcome = await Promise.race([this.#doneOf(id).promise, late]);
    stop.abort();
    if (outcome === "late") {
      this.#ports.log.warn("a container was removed before all of its log was sent", { container: id });
    }
    this.#forget(id);
    await this.#ports.shipping.forget(id);
  }

  async resume(records: readonly ContainerRecord[]): Promise<void> {
    for (const record of records) {
      const isRunning = record.state.status === "running";
      if (record.state.status === "created") continue;
      try {
        const shipment = this.#shipmentOf(record);
        if (shipment === undefined || (!isRunning && isShipped(shipment.cursor))) continue;
        await this.#ship(record, shipment, false);
        if (!isRunning) this.#ports.shipping.finish(record.id);
      } catch (error) {
        this.#ports.log.error(`cannot send the log of a container: ${messageOf(error)}`, { container: record.id });
      }
    }
  }

  told(event: ShipmentEvent): void {
    const { id } = event;
    const record = this.#records.get(id);
    const { log, events } = this.#ports;
    switch (event.event) {
      case "done":
        this.#doneOf(id).resolve();
        this.#forget(id);
        return;
      case "trouble":
        if (event.why === "") log.info("the log service of a container takes lines again", { container: id });
        else log.warn(`the log service of a container can't be reached: ${event.why}`, { container: id });
        return;
      case "dropped": {
        const count = event.isExact ? String(event.lines) : `more than ${event.lines}`;
        log.error(`${count} lines of a container's log were given up before they could be sent`, { container: id });
        this.#ports.onDropped(event.lines);
        if (record !== undefined) publishContainerEvent(events, record, "log-dropped", { lines: count });
        return;
      }
      case "shipped":
        this.#ports.onShipped(event.bytes);
    }
  }

  async #ship(record: ContainerRecord, shipment: Shipment, check: boolean): Promise<void> {
    await this.#ports.shipping.ship(shipment, { check });
    this.#records.set(record.id, record);
    this.#done.delete(record.id);
  }

  #doneOf(id: string): PromiseWithResolvers<void> {
    let done = this.#done.get(id);
    if (done === undefined) {
      done = Promise.withResolvers();
      this.#done.set(id, done);
    }
    return done;
  }

  #forget(id: string): void {
    this.#records.delete(id);
    this.#done.delete(id);
  }

  #shipmentOf(record: ContainerRecord): Shipment | undefined {
    const { Type, Config } = record.hostConfig.LogConfig;
    const settings = this.#ports.settings();
    if (!isLogDriver(Type)) return undefined;
    const options = Config ?? {};
    const service = logServiceOf(Type, { record, options, logPath: "" });
    const target = service === undefined ? undefined : logTargetOf(record, settings);
    if (service === undefined || target === undefined) return undefined;
    const cursor = join(containerFolder(settings.dataRoot, record.id), "shipped.json");
    return { id: record.id, target, cursor, service, patience: readPatience(Type, options) };
  }
}

function startsWithoutIt({ service }: Shipment): boolean {
  return service.driver === "fluentd" && service.isAsync;
}

/** True if all of a log was sent that grows no more. */
function isShipped(cursor: string): boolean {
  try {
    return (JSON.parse(readFileSync(cursor, "utf8")) as { done?: unknown }).done === true;
  } catch {
    return false;
  }
}

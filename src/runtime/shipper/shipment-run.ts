import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { messageOf } from "../../base/errors.ts";
import { LogChanges } from "../log-changes.ts";
import type { LogService, Patience, Shipment, ShipmentEvent } from "../shipment.ts";
import { openSender } from "./open-sender.ts";
import type { LogSender, ShippedLine } from "./sender.ts";
import { BEGINNING, type ShipBatch, type ShipMark, ShipReader } from "./ship-reader.ts";

/** What went out so short before a connection broke may have been lost with it. */
const SETTLE_MS = 1000;
const MOST_UNSETTLED = 2 * 1024 * 1024;
const SAVE_MS = 200;
const LOOK_MS = 20;
const REPORT_MS = 10_000;
const FIRST_RETRY_MS = 200;
const LAST_RETRY_MS = 5000;
/** Who took so long for a batch has let others wait. */
const SLOW_MS = 1000;

interface Sent {
  readonly lines: readonly ShippedLine[];
  readonly bytes: number;
  readonly mark: ShipMark;
  readonly at: number;
}

/**
 * Ships one container's log: reads, sends, remembers how far it came. A service that is away or does not read is waited
 * for, with no more than a batch in memory; lines that are rotated away meanwhile are counted and told.
 */
export class ShipmentRun {
  readonly id: string;
  readonly #shipment: Shipment;
  readonly #tell: (event: ShipmentEvent) => void;
  readonly #abort = new AbortController();
  readonly #woken = Promise.withResolvers<void>();
  #service: LogService;
  #patience: Patience;
  #sender: LogSender | undefined;
  /** Sent on this connection or the one before, and perhaps not taken. */
  #sent: Sent[] = [];
  #finished = false;
  #inTrouble = false;
  #settled: ShipMark;
  #savedAt = 0;
  #dropped: { readonly lines: number; readonly isExact: boolean } | undefined;
  #reportedAt = Date.now();
  #shipped = 0;
  #shippedAt = Date.now();
  /** The last batch had to wait: others may wait behind it. */
  #hasWaited = true;
  #isSaved = false;
  readonly #ended: Promise<void>;
  #reader: ShipReader;

  /** `sender` is connected already, if the service was asked for at all. */
  constructor(shipment: Shipment, sender: LogSender | undefined, tell: (event: ShipmentEvent) => void) {
    this.id = shipment.id;
    this.#shipment = shipment;
    this.#service = shipment.service;
    this.#patience = shipment.patience;
    this.#sender = sender;
    this.#tell = tell;
    this.#settled = readMark(shipment.cursor);
    const { reader, isLost } = ShipReader.open(shipment.target, this.#settled);
    this.#reader = reader;
    if (isLost) this.#dropped = { lines: 0, isExact: false };
    this.#ended = this.#run();
  }

  /** More will come: the container was started again, perhaps under another name. */
  goOn({ service, patience }: Pick<Shipment, "service" | "patience">): void {
    this.#finished = false;
    this.#patience = patience;
    if (JSON.stringify(service) === JSON.stringify(this.#service)) return;
    this.#service = service;
    this.#sender?.close();
    this.#sender = undefined;
  }

  finish(): void {
    this.#finished = true;
    this.#woken.resolve();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    using changes = new LogChanges(this.#shipment.target.path, undefined, signal);
    try {
      while (!signal.aborted) {
        // Asked before reading: what was written until the end came is read after it.
        const isLast = this.#finished;
        let batch = (await this.#withinPatience()) ?? (await this.#reader.next());
        await this.#keepUp();
        if (batch.lines.length === 0 && isLast) batch = this.#reader.rest();
        if (batch.lines.length > 0) await this.#deliver(batch, changes);
        else if (await this.#isDone(isLast, batch.mark)) return;
        else await this.#rest(changes);
      }
    } catch (error) {
      if (!signal.aborted) process.stderr.write(`cannot ship the log of ${this.id}: ${messageOf(error)}\n`);
    } finally {
      this.#reportDropped();
      this.#reportShipped();
      this.#sender?.close();
      this.#reader[Symbol.dispose]();
      this.#save(false);
    }
  }

  /** Nothing is left to read. Settles what can be; true if the log has ended and the service has all of it. */
  async #isDone(isLast: boolean, mark: ShipMark): Promise<boolean> {
    this.#settle();
    if (this.#sent.length > 0) {
      if (this.#sender?.isBroken === true) await this.#deliver({ lines: [], mark }, undefined);
      return false;
    }
    this.#settled = mark;
    this.#save(isLast);
    if (!isLast || !this.#finished) return false;
    this.#reportDropped();
    this.#reportShipped();
    this.#tell({ event: "done", id: this.id });
    return true;
  }

  /** Until something may be there to do. */
  async #rest(changes: LogChanges): Promise<void> {
    if (this.#sent.length > 0) await delay(LOOK_MS);
    else await Promise.race([changes.next(), this.#woken.promise]);
    if (this.#finished) await delay(LOOK_MS);
  }

  async #deliver(batch: ShipBatch, changes: LogChanges | undefined): Promise<void> {
    const { signal } = this.#abort;
    const began = Date.now();
    this.#hasWaited = false;
    for (let tries = 0; ; tries++) {
      try {
        await this.#keepingUp(this.#send(batch), changes);
        if (this.#inTrouble) this.#tell({ event: "trouble", id: this.id, why: "" });
        this.#reportDropped();
        this.#inTrouble = false;
        this.#hasWaited ||= Date.now() - began > SLOW_MS;
        return;
      } catch (error) {
        this.#sender?.close();
        this.#sender = undefined;
        signal.throwIfAborted();
        if (!this.#inTrouble) this.#tell({ event: "trouble", id: this.id, why: messageOf(error) });
        this.#inTrouble = true;
        this.#hasWaited = true;
        if (tries >= (this.#patience.mostRetries ?? Number.POSITIVE_INFINITY)) return this.#giveUp(batch);
        await this.#keepingUp(delay(this.#pause(tries), undefined, { signal }), changes);
      }
    }
  }

  /** What was sent just before the connection broke is given up with what could not be sent. */
  #giveUp({ lines, mark }: ShipBatch): void {
    this.#countDropped(lines.length, this.#sent.length === 0);
    if (Date.now() - this.#reportedAt > REPORT_MS) this.#reportDropped();
    this.#sent = [];
    this.#settled = mark;
    this.#isSaved = false;
    this.#save(false);
  }

  /** After a wait: the batch to go on with, if what waits is more than may. */
  async #withinPatience(): Promise<ShipBatch | undefined> {
    const { mostBytes, mostLines } = this.#patience;
    if (!this.#hasWaited || (mostBytes === undefined && mostLines === undefined)) return undefined;
    this.#hasWaited = false;
    const skipped = await this.#reader.skipBeyond({ bytes: mostBytes, lines: mostLines });
    if (skipped === undefined) return undefined;
    this.#countDropped(skipped.lost, true);
    return skipped.batch;
  }

  async #send({ lines, mark }: ShipBatch): Promise<void> {
    const { signal } = this.#abort;
    if (this.#sender === undefined || this.#sender.isBroken) {
      this.#sender?.close();
      const sender = openSender(this.#service);
      this.#sender = sender;
      await sender.connect(signal);
      for (const sent of this.#sent) await sender.send(sent.lines, signal);
      const now = Date.now();
      this.#sent = this.#sent.map((sent) => ({ ...sent, at: now }));
    }
    const sender = this.#sender;
    if (lines.length > 0) await sender.send(lines, signal);
    const bytes = lines.reduce((size, { data }) => size + data.length, 0);
    this.#shipped += bytes;
    if (Date.now() - this.#shippedAt > SAVE_MS) this.#reportShipped();
    if (sender.isCertain) {
      this.#sent = [];
      this.#settled = mark;
      this.#isSaved = false;
    } else if (lines.length > 0) {
      this.#sent.push({ lines, bytes, mark, at: Date.now() });
    }
    this.#settle();
    if (Date.now() - this.#savedAt >= SAVE_MS) this.#save(false);
  }

  /** What a living connection took a while ago, or much else after it, has arrived. */
  #settle(): void {
    if (this.#sender?.isBroken !== false) return;
    const before = Date.now() - SETTLE_MS;
    let bytes = 0;
    for (const sent of this.#sent) bytes += sent.bytes;
    while (this.#sent.length > 0 && (this.#sent[0]!.at <= before || bytes > MOST_UNSETTLED)) {
      const { mark, bytes: size } = this.#sent.shift()!;
      bytes -= size;
      this.#settled = mark;
      this.#isSaved = false;
    }
  }

  /** Waits for `work`; holds meanwhile what is rotated away. */
  async #keepingUp<T>(work: Promise<T>, changes: LogChanges | undefined): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    // Most work is done at once.
    await Promise.race([work.then(over, over), delay(LOOK_MS)]);
    while (!isOver) {
      await this.#keepUp();
      if (Date.now() - this.#reportedAt > REPORT_MS) this.#reportDropped();
      await Promise.race([work.then(over, over), changes?.next() ?? delay(LOOK_MS)]);
      if (!isOver) await Promise.race([work.then(over, over), delay(LOOK_MS)]);
    }
    return await work;
  }

  async #keepUp(): Promise<void> {
    const lines = await this.#reader.keepUp();
    if (lines !== 0) this.#countDropped(lines ?? 0, lines !== undefined);
  }

  #countDropped(lines: number, isExact: boolean): void {
    const before = this.#dropped ?? { lines: 0, isExact: true };
    this.#dropped = { lines: before.lines + lines, isExact: before.isExact && isExact };
  }

  /** Now and then: one line of the engine's log for many of the container's. */
  #reportDropped(): void {
    if (this.#dropped !== undefined) this.#tell({ event: "dropped", id: this.id, ...this.#dropped });
    this.#dropped = undefined;
    this.#reportedAt = Date.now();
  }

  #reportShipped(): void {
    if (this.#shipped > 0) this.#tell({ event: "shipped", id: this.id, bytes: this.#shipped });
    this.#shipped = 0;
    this.#shippedAt = Date.now();
  }

  #pause(tries: number): number {
    const { firstPauseMs = FIRST_RETRY_MS, lastPauseMs = LAST_RETRY_MS } = this.#patience;
    return Math.min(lastPauseMs, Math.max(1, firstPauseMs) * 2 ** Math.min(tries, 30));
  }

  #save(isWhole: boolean): void {
    if (this.#isSaved && !isWhole) return;
    this.#savedAt = Date.now();
    this.#isSaved = true;
    try {
      const text = JSON.stringify({ ...this.#settled, done: isWhole });
      writeFileAtomic(this.#shipment.cursor, text, { durable: false });
    } catch {
      // The disk is full, or the container is gone: what was sent since the last time is sent again, or never needed.
      this.#isSaved = false;
    }
  }
}

function readMark(path: string): ShipMark {
  try {
    const { head, at, stdout, stderr } = JSON.parse(readFileSync(path, "utf8")) as Partial<ShipMark>;
    const isMark = typeof head === "string" && [at, stdout, stderr].every((value) => Number.isSafeInteger(value));
    return isMark ? { head, at: at!, stdout: stdout!, stderr: stderr! } : BEGINNING;
  } catch {
    return BEGINNING;
  }
}

import { closeSync } from "node:fs";
import { receiveFds, sendFds } from "../kernel/descriptor.ts";
import { Readiness } from "../kernel/readiness.ts";

const MAX_MESSAGE = 16 * 1024 * 1024;
const PREFIX = 4;

/** A message and the descriptor that came with it, which now belongs to the listener. */
export type MessageListener = (message: unknown, fd: number | undefined) => void;

/**
 * Messages between engine and supervisor over a Unix stream socket: a 32-bit length, then JSON. A message with
 * `fds: 1` takes the next descriptor that arrived by SCM_RIGHTS. Whatever is malformed ends the connection.
 */
export class ControlConnection {
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #onMessage: MessageListener;
  readonly #onClose: () => void;
  #received: Buffer = Buffer.alloc(0);
  readonly #receivedFds: number[] = [];
  #outgoing: { bytes: Buffer; readonly fd: number | undefined; readonly sent: (() => void) | undefined }[] = [];
  #closed = false;

  constructor(fd: number, onMessage: MessageListener, onClose: () => void) {
    this.#fd = fd;
    this.#onMessage = onMessage;
    this.#onClose = onClose;
    this.#readiness = new Readiness(fd, (events) => {
      if (events.writable) this.#flush();
      if (events.readable) this.#receive();
    });
    this.#readiness.watch(true);
  }

  /** Queues a message; `sent` is called once the descriptor has gone, and the caller's own may be closed. */
  send(message: object, fd?: number, sent?: () => void): void {
    if (this.#closed) {
      sent?.();
      return;
    }
    const text = Buffer.from(JSON.stringify(fd === undefined ? message : { ...message, fds: 1 }));
    const bytes = Buffer.allocUnsafe(PREFIX + text.length);
    bytes.writeUInt32LE(text.length, 0);
    bytes.set(text, PREFIX);
    this.#outgoing.push({ bytes, fd, sent });
    if (this.#outgoing.length === 1) this.#flush();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    closeSync(this.#fd);
    for (const fd of this.#receivedFds) closeSync(fd);
    for (const row of this.#outgoing) row.sent?.();
    this.#outgoing = [];
    setImmediate(this.#onClose);
  }

  #flush(): void {
    try {
      for (let first = this.#outgoing[0]; first !== undefined; first = this.#outgoing[0]) {
        // The descriptor goes with the first bytes; the rest is queued again without it.
        const fds = first.fd === undefined ? [] : [first.fd];
        const count = sendFds(this.#fd, first.bytes, fds);
        if (count < 0) break;
        if (count < first.bytes.length) {
          this.#outgoing[0] = { bytes: first.bytes.subarray(count), fd: undefined, sent: undefined };
          first.sent?.();
          continue;
        }
        this.#outgoing.shift();
        first.sent?.();
      }
      this.#readiness.watch(true, this.#outgoing.length > 0);
    } catch {
      this.close();
    }
  }

  #receive(): void {
    try {
      const got = receiveFds(this.#fd);
      if (got === undefined) return;
      if (got.bytes.length === 0) {
        this.close();
        return;
      }
      this.#receivedFds.push(...got.fds);
      this.#received = this.#received.length === 0 ? got.bytes : Buffer.concat([this.#received, got.bytes]);
      this.#deliver();
    } catch {
      this.close();
    }
  }

  #deliver(): void {
    while (!this.#closed && this.#received.length >= PREFIX) {
      const size = this.#received.readUInt32LE(0);
      if (size > MAX_MESSAGE) throw new Error("message too large");
      if (this.#received.length < PREFIX + size) return;
      const message = JSON.parse(this.#received.toString("utf8", PREFIX, PREFIX + size)) as { fds?: number };
      this.#received = this.#received.subarray(PREFIX + size);
      const fd = message.fds === 1 ? this.#receivedFds.shift() : undefined;
      if (message.fds === 1 && fd === undefined) throw new Error("descriptor missing");
      this.#onMessage(message, fd);
    }
  }
}

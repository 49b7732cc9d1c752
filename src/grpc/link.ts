import { Caller, type CallOptions, type ClientCall } from "./caller.ts";
import { type CallLink, MAX_MESSAGE } from "./channel.ts";
import type { KeepAlive } from "./connection.ts";
import { FRAME, type FrameKind, FrameReader, HEAD_BYTES, SMALL, writeHead } from "./frames.ts";
import { Answer } from "./link-answer.ts";
import { LinkCall } from "./link-call.ts";
import { NO_METADATA, toHeaders } from "./metadata.ts";
import type { Method } from "./method.ts";
import type { GrpcServer } from "./server.ts";
import { decodeStatus, GrpcError, STATUS, shortStatus } from "./status.ts";

/** The connection of a link, whoever opened it. */
export interface LinkSocket {
  readonly destroyed: boolean;
  /** False when what is not sent yet is so much that the caller should wait for `drain`. */
  write(data: Uint8Array): boolean;
  destroy(): unknown;
  pause(): unknown;
  resume(): unknown;
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "drain" | "end" | "close", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

export interface LinkOptions {
  /** True on one side and false on the other: each numbers its own calls. */
  readonly dialled: boolean;
  /** Answers the other side's calls. */
  readonly server: GrpcServer;
  /** Bytes that came before the first of the socket's. */
  readonly head?: Buffer;
  /** Bytes of a message that is received. Default 16 MiB. */
  readonly maxMessageBytes?: number;
  readonly keepAlive?: KeepAlive;
}

/** Small frames leave together, this many bytes at a time. */
const GATHERED = 16 << 10;
const MOST_CALLS = 1000;
/** Room for calls that have more on their way than at first, over all of them. */
const SPARE = 32 << 20;
/**
 * So much of what has come waits, over all calls; then the connection is paused. It is more than all calls may have on
 * their way: what lets a call go on, as a credit, would come no more either. Only messages near their limit reach it.
 */
const BUFFERED = 128 << 20;

/** Calls both ways over one connection, in frames of our own where HTTP/2 would cost more than the calls. */
export class Link extends Caller implements CallLink {
  readonly #socket: LinkSocket;
  readonly #server: GrpcServer;
  readonly #reader: FrameReader;
  readonly #closed = new AbortController();
  readonly #calls = new Map<number, LinkCall<unknown, unknown>>();
  readonly #answers = new Map<number, Answer>();
  #next: number;
  /** The last number of the other side's. */
  #last = 0;
  #piece: Buffer | undefined;
  #at = 0;
  #isFull = false;
  /** Who goes first when the connection takes more again. */
  #turn = 0;
  #owesPong = false;
  #buffered = 0;
  #spare = SPARE;
  /** Handlers that have not ended, those of calls that were given up among them. */
  #handlers = 0;
  #heard = performance.now();

  constructor(socket: LinkSocket, { dialled, head, keepAlive, maxMessageBytes, server }: LinkOptions) {
    super();
    this.#socket = socket;
    this.#server = server;
    this.#next = dialled ? 1 : 2;
    this.#reader = new FrameReader(maxMessageBytes ?? MAX_MESSAGE, (kind, call, bytes) =>
      this.#take(kind, call, bytes),
    );
    socket.on("error", ignore);
    socket.on("close", () => this.#over());
    // A connection that HTTP handed over stays half open: its other half would be kept for ever.
    socket.on("end", () => socket.destroy());
    socket.on("drain", () => this.#drained());
    if (head !== undefined && head.length > 0) this.#feed(head);
    socket.on("data", (chunk) => this.#feed(chunk));
    // Whoever took the connection over has it paused.
    socket.resume();
    if (keepAlive !== undefined && !this.closed.aborted) this.#keepAlive(keepAlive);
    if (socket.destroyed) this.#over();
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** True while the connection takes no more. */
  get isFull(): boolean {
    return this.#isFull;
  }

  close(): void {
    this.#flush();
    this.#socket.destroy();
    this.#over();
  }

  open<I, O>(method: Method<I, O>, { metadata = NO_METADATA, signal, timeoutMs }: CallOptions = {}): ClientCall<I, O> {
    signal?.throwIfAborted();
    if (this.closed.aborted) throw new GrpcError(STATUS.unavailable, "grpc: the connection is closed");
    const number = this.#next;
    this.#next += 2;
    const open = Buffer.from(JSON.stringify({ path: method.path, metadata: toHeaders(metadata), timeoutMs }));
    if (open.length > SMALL) {
      const text = `grpc: trying to send metadata larger than max (${open.length} vs. ${SMALL})`;
      throw new GrpcError(STATUS.resourceExhausted, text);
    }
    this.send(FRAME.open, number, open);
    const call = new LinkCall(this, number, method, signal, timeoutMs);
    this.#calls.set(number, call as unknown as LinkCall<unknown, unknown>);
    return call;
  }

  /** Sends a frame, small ones with those that are sent before the event loop goes on. */
  send(kind: FrameKind, call: number, bytes: Uint8Array = NOTHING): void {
    if (this.closed.aborted) return;
    const size = HEAD_BYTES + bytes.length;
    if (this.#piece !== undefined && this.#at + size > GATHERED) this.#flush();
    if (size > GATHERED) {
      const head = Buffer.allocUnsafe(HEAD_BYTES);
      writeHead(head, 0, kind, call, bytes.length);
      this.#write(head);
      this.#write(bytes);
      return;
    }
    if (this.#piece === undefined) {
      this.#piece = Buffer.allocUnsafe(GATHERED);
      this.#at = 0;
      process.nextTick(() => this.#flush());
    }
    writeHead(this.#piece, this.#at, kind, call, bytes.length);
    this.#piece.set(bytes, this.#at + HEAD_BYTES);
    this.#at += size;
  }

  hold(cost: number): void {
    const before = this.#buffered;
    this.#buffered += cost;
    if (before <= BUFFERED && this.#buffered > BUFFERED) this.#socket.pause();
    if (before > BUFFERED && this.#buffered <= BUFFERED) this.#socket.resume();
  }

  widen(cost: number): number {
    const given = Math.min(cost, this.#spare);
    this.#spare -= given;
    return given;
  }

  /** A call that is over, on whichever side it was. */
  forget(call: number): void {
    this.#calls.delete(call);
    this.#answers.delete(call);
  }

  /** The other side doesn't keep to what both have to. */
  violated(): void {
    this.close();
  }

  #feed(chunk: Buffer): void {
    this.#heard = performance.now();
    if (this.closed.aborted) return;
    try {
      this.#reader.feed(chunk);
    } catch {
      this.violated();
    }
  }

  #take(kind: FrameKind, number: number, bytes: Buffer): void {
    // What came together with the frame that ended the connection.
    if (this.closed.aborted) return;
    const isOwn = (number & 1) === (this.#next & 1);
    const call = isOwn ? this.#calls.get(number) : undefined;
    const answer = isOwn ? undefined : this.#answers.get(number);
    // What is said of a call that is over is of no use to anybody.
    switch (kind) {
      case FRAME.open:
        this.#begin(number, bytes);
        return;
      case FRAME.message:
        (call ?? answer)?.channel.take(bytes);
        return;
      case FRAME.end:
        answer?.channel.finish();
        return;
      case FRAME.status:
        call?.over(bytes.length === 0 ? undefined : (decodeStatus(bytes) ?? unreadable()));
        return;
      case FRAME.cancel:
        answer?.abort("the caller has gone");
        return;
      case FRAME.credit:
        (call ?? answer)?.channel.credit(bytes.length === 4 ? bytes.readUInt32BE() : 0);
        return;
      case FRAME.ping:
        // One answers all that came while nothing was read of the answers.
        if (this.#isFull) this.#owesPong = true;
        else this.send(FRAME.pong, 0);
        return;
      case FRAME.pong:
    }
  }

  #begin(number: number, bytes: Buffer): void {
    if ((number & 1) === (this.#next & 1) || number <= this.#last) throw unreadable();
    this.#last = number;
    const { path, metadata, timeoutMs } = readOpen(bytes);
    if (this.#answers.size >= MOST_CALLS || this.#handlers >= MOST_CALLS) {
      if (this.#isFull) throw unreadable();
      const error = new GrpcError(STATUS.resourceExhausted, `grpc: more than ${MOST_CALLS} calls at once`);
      this.send(FRAME.status, number, shortStatus(error));
      return;
    }
    const answer = new Answer(this, number, metadata, timeoutMs);
    this.#answers.set(number, answer);
    this.#handlers++;
    void this.#server.answer(path, answer).then(() => this.#handlers--);
  }

  #flush(): void {
    const piece = this.#piece;
    if (piece === undefined) return;
    this.#piece = undefined;
    this.#write(piece.subarray(0, this.#at));
  }

  #write(bytes: Uint8Array): void {
    if (this.#socket.destroyed) return;
    if (!this.#socket.write(bytes)) this.#isFull = true;
  }

  #drained(): void {
    this.#isFull = false;
    if (this.#owesPong) {
      this.#owesPong = false;
      this.send(FRAME.pong, 0);
    }
    const all = [...this.#calls.values(), ...this.#answers.values()];
    for (let left = all.length; left > 0 && !this.#isFull; left--) {
      this.#turn = (this.#turn + 1) % all.length;
      all[this.#turn]!.channel.wake();
    }
  }

  /** The connection has ended. */
  #over(): void {
    if (this.closed.aborted) return;
    this.#closed.abort(new GrpcError(STATUS.unavailable, "grpc: the connection is closed"));
    const lost = new GrpcError(STATUS.unavailable, "grpc: the connection was lost");
    for (const call of [...this.#calls.values()]) call.over(lost);
    for (const answer of [...this.#answers.values()]) answer.abort("the caller has gone");
  }

  #keepAlive({ everyMs, withinMs }: KeepAlive): void {
    let asked = Number.NEGATIVE_INFINITY;
    const isSilent = () => this.#heard < asked && this.#buffered <= BUFFERED;
    const timer = setInterval(() => {
      const now = performance.now();
      if (!isSilent()) {
        if (now - this.#heard < everyMs) return;
        asked = now;
        this.send(FRAME.ping, 0);
      } else if (now - asked >= withinMs) {
        // A process that stood still has an answer that it hasn't read yet.
        setImmediate(() => {
          if (isSilent()) this.close();
        });
      }
    }, everyMs);
    timer.unref();
    this.closed.addEventListener("abort", () => clearInterval(timer), { once: true });
  }
}

const NOTHING = new Uint8Array();

interface Opened {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, readonly string[]>;
  readonly timeoutMs: number | undefined;
}

function readOpen(bytes: Buffer): Opened {
  const open = JSON.parse(bytes.toString("utf8")) as { path?: unknown; metadata?: unknown; timeoutMs?: unknown } | null;
  if (typeof open?.path !== "string" || typeof open.metadata !== "object" || open.metadata === null) throw unreadable();
  const metadata = new Map<string, readonly string[]>();
  for (const [name, values] of Object.entries(open.metadata)) {
    if (!Array.isArray(values) || !values.every((value) => typeof value === "string")) throw unreadable();
    metadata.set(name, values);
  }
  const { path, timeoutMs } = open;
  return { path, metadata, timeoutMs: typeof timeoutMs === "number" && timeoutMs >= 0 ? timeoutMs : undefined };
}

function unreadable(): GrpcError {
  return new GrpcError(STATUS.internal, "grpc: the other side sent what is no frame of a call");
}

/** Closing the connection says that something went wrong with it. */
function ignore(): void {}

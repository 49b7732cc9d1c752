import { Caller, type CallOptions, type ClientCall } from "./caller.ts";
import type { CallLink } from "./channel.ts";
import type { KeepAlive } from "./connection.ts";
import { FRAME, type FrameKind, FrameReader, HEAD_BYTES, writeHead } from "./frames.ts";
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

const MAX_MESSAGE = 16 << 20;
/** Small frames leave together, this many bytes at a time. */
const GATHERED = 16 << 10;
/** So much of what has come waits, over all calls; then the connection is paused. */
const BUFFERED = 16 << 20;
const MOST_CALLS = 1000;

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
  #buffered = 0;
  #heard = Date.now();

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
    if (keepAlive !== undefined) this.#keepAlive(keepAlive);
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
    const open = { path: method.path, metadata: toHeaders(metadata), timeoutMs };
    this.send(FRAME.open, number, Buffer.from(JSON.stringify(open)));
    const call = new LinkCall(this, number, method, signal, timeoutMs);
    this.#calls.set(number, call as unknown as LinkCall<unknown, unknown>);
    return call;
  }

  /** Sends a frame, small ones with those that are sent before the event loop goes on. */
  send(kind: FrameKind, call: number, bytes: Uint8Array = NOTHING): void {
    if (this.closed.aborted) return;
    if (bytes.length > MAX_MESSAGE) {
      const text = `grpc: trying to send message larger than max (${bytes.length} vs. ${MAX_MESSAGE})`;
      throw new GrpcError(STATUS.resourceExhausted, text);
    }
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

  /** Bytes of messages that wait to be taken: more, or fewer with a negative number. */
  hold(bytes: number): void {
    const before = this.#buffered;
    this.#buffered += bytes;
    if (before <= BUFFERED && this.#buffered > BUFFERED) this.#socket.pause();
    if (before > BUFFERED && this.#buffered <= BUFFERED) this.#socket.resume();
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
    this.#heard = Date.now();
    if (this.closed.aborted) return;
    try {
      this.#reader.feed(chunk);
    } catch {
      this.violated();
    }
  }

  #take(kind: FrameKind, number: number, bytes: Buffer): void {
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
        this.send(FRAME.pong, 0);
        return;
      case FRAME.pong:
    }
  }

  #begin(number: number, bytes: Buffer): void {
    if ((number & 1) === (this.#next & 1) || number <= this.#last) throw unreadable();
    this.#last = number;
    const { path, metadata, timeoutMs } = readOpen(bytes);
    if (this.#answers.size >= MOST_CALLS) {
      const error = new GrpcError(STATUS.resourceExhausted, `grpc: more than ${MOST_CALLS} calls at once`);
      this.send(FRAME.status, number, shortStatus(error));
      return;
    }
    const answer = new Answer(this, number, metadata, timeoutMs);
    this.#answers.set(number, answer);
    void this.#server.answer(path, answer);
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
    for (const { channel } of [...this.#calls.values(), ...this.#answers.values()]) channel.wake();
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
    const timer = setInterval(() => {
      const silentMs = Date.now() - this.#heard;
      if (silentMs >= everyMs + withinMs) this.close();
      else if (silentMs >= everyMs) this.send(FRAME.ping, 0);
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

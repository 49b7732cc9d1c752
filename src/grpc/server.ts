import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { AnsweredCall, type ServerCall } from "./answered-call.ts";
import { acceptHttp2, type KeepAlive, keepAlive } from "./connection.ts";
import { Incoming, Outgoing } from "./messages.ts";
import { fromHeaders, readTimeout } from "./metadata.ts";
import type { Method } from "./method.ts";
import { GrpcError, LONGEST_MS, STATUS, toGrpcError, trailersOf } from "./status.ts";

export type UnaryHandler<I, O> = (request: I, call: ServerCall<I, O>) => Promise<O> | O;
export type StreamHandler<I, O> = (call: ServerCall<I, O>) => Promise<void>;

export interface ServerOptions {
  /** Bytes of a message that is received. Default 16 MiB. */
  readonly maxMessageBytes?: number;
  readonly keepAlive?: KeepAlive;
  /** Told of what no caller did wrong. */
  readonly onError?: (path: string, error: unknown) => void;
}

type Entry = (call: AnsweredCall) => Promise<void>;

const MAX_MESSAGE = 16 << 20;

/** Methods and what answers them; serves any number of connections. */
export class GrpcServer {
  readonly #entries = new Map<string, Entry>();
  readonly #options: ServerOptions;

  constructor(options: ServerOptions = {}) {
    this.#options = options;
  }

  /** `/package.Service/Method` of all that is answered. */
  get methods(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** A method with one request and one response. */
  unary<I, O>(method: Method<I, O>, handler: UnaryHandler<I, O>): this {
    return this.#add(method, async (call) => {
      const request = await call.only();
      await call.send(await handler(request as I, call as ServerCall<I, O>));
    });
  }

  /** A method with one request, after which the handler sends what it wants to. */
  serverStream<I, O>(method: Method<I, O>, handler: (request: I, call: ServerCall<I, O>) => Promise<void>): this {
    return this.#add(method, async (call) => handler((await call.only()) as I, call as ServerCall<I, O>));
  }

  /** A method in which both sides send as they like. It ends with the handler. */
  stream<I, O>(method: Method<I, O>, handler: StreamHandler<I, O>): this {
    return this.#add(method, (call) => handler(call as ServerCall<I, O>));
  }

  /** Serves a connection that is there already. The session ends when either side ends the connection. */
  serve(socket: Duplex): ServerHttp2Session {
    const session = acceptHttp2(socket);
    if (this.#options.keepAlive !== undefined) keepAlive(session, this.#options.keepAlive);
    session.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw?: string[]) => {
      this.#onStream(stream, headers, raw);
    });
    return session;
  }

  #add<I, O>(method: Method<I, O>, entry: Entry): this {
    this.#entries.set(method.path, (call) => {
      call.speaks(method as Method<unknown, unknown>);
      return entry(call);
    });
    return this;
  }

  /** Answers a call of a connection that is no HTTP/2. Never rejects. */
  async answer(path: string, call: AnsweredCall): Promise<void> {
    try {
      const entry = this.#entries.get(path);
      if (entry === undefined) throw unimplemented(path, this.methods);
      await entry(call);
      call.finish(undefined);
    } catch (error) {
      const told = call.signal.aborted ? new GrpcError(STATUS.cancelled, "context canceled") : toGrpcError(error);
      if (!call.signal.aborted) this.#options.onError?.(path, error);
      call.finish(told);
    }
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, raw: string[] | undefined): void {
    stream.on("error", ignore);
    const path = String(headers[":path"] ?? "");
    const type = String(headers["content-type"] ?? "");
    if (headers[":method"] !== "POST" || !/^application\/grpc(?:[+;]|$)/.test(type)) {
      stream.respond({ ":status": 415 }, { endStream: true });
      return;
    }
    void this.answer(path, new Call(stream, headers, raw, this.#options.maxMessageBytes ?? MAX_MESSAGE));
  }
}

function unimplemented(path: string, known: readonly string[]): GrpcError {
  const [, service = "", method = ""] = /^\/([^/]*)\/(.*)$/.exec(path.slice(0, 500)) ?? [];
  const text = known.some((one) => one.startsWith(`/${service}/`))
    ? `unknown method ${method} for service ${service}`
    : `unknown service ${service}`;
  return new GrpcError(STATUS.unimplemented, text);
}

class Call extends AnsweredCall {
  readonly #stream: ServerHttp2Stream;
  readonly #controller = new AbortController();
  readonly #incoming: Incoming;
  readonly #outgoing: Outgoing;
  #deadline: NodeJS.Timeout | undefined;
  #timedOut = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, raw: string[] | undefined, limit: number) {
    super(fromHeaders(headers, raw));
    this.#stream = stream;
    this.#incoming = new Incoming(stream, limit);
    this.#outgoing = new Outgoing(stream);
    stream.once("close", () => this.#abort("the caller has gone"));
    stream.once("aborted", () => this.#abort("the caller has gone"));
    const timeout = readTimeout(headers["grpc-timeout"] as string | undefined);
    // Longer than a timer can be is no deadline.
    if (timeout !== undefined && timeout <= LONGEST_MS) {
      this.#deadline = setTimeout(() => {
        this.#timedOut = true;
        this.#abort("the caller's time is over");
        this.finish(new GrpcError(STATUS.deadlineExceeded, "context deadline exceeded"));
      }, timeout);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  protected next(): Promise<readonly Buffer[] | undefined> {
    return this.#incoming.next();
  }

  protected write(bytes: Uint8Array): Promise<void> | undefined {
    this.#respond();
    return this.#outgoing.write(bytes);
  }

  finish(error: GrpcError | undefined): void {
    if (!this.endOnce()) return;
    clearTimeout(this.#deadline);
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    const trailers = trailersOf(error);
    if (!stream.headersSent && error !== undefined) {
      stream.respond({ ":status": 200, "content-type": "application/grpc", ...trailers }, { endStream: true });
      this.#hangUp();
      return;
    }
    this.#respond();
    stream.once("wantTrailers", () => {
      stream.sendTrailers(trailers);
      this.#hangUp();
    });
    this.#outgoing.flush();
    stream.end();
  }

  /** Who goes on sending is told that nobody listens, once it has the answer. */
  #hangUp(): void {
    const stream = this.#stream;
    if (stream.readableEnded) return;
    stream.resume();
    const close = () => {
      if (!stream.destroyed && !stream.closed) stream.close(0);
    };
    if (stream.writableFinished) setImmediate(close);
    else stream.once("finish", () => setImmediate(close));
  }

  #respond(): void {
    if (this.#stream.headersSent) return;
    const headers = { ...Object.fromEntries(this.headers), ":status": 200, "content-type": "application/grpc" };
    this.#stream.respond(headers, { waitForTrailers: true });
  }

  #abort(why: string): void {
    clearTimeout(this.#deadline);
    if (this.isFinished && !this.#timedOut) {
      this.#incoming.fail(new GrpcError(STATUS.cancelled, why));
      return;
    }
    const error = new GrpcError(STATUS.cancelled, why);
    this.#incoming.fail(error);
    this.#controller.abort(error);
  }
}

function ignore(): void {}

import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import type { Duplex } from "node:stream";
import { Caller, type CallOptions, type ClientCall } from "./caller.ts";
import { type KeepAlive, keepAlive, openHttp2 } from "./connection.ts";
import { untilGivenUp } from "./giving-up.ts";
import { Incoming, Outgoing } from "./messages.ts";
import { NO_METADATA, statusOf, toHeaders, writeTimeout } from "./metadata.ts";
import { decoded, type Method } from "./method.ts";
import { GrpcError, STATUS } from "./status.ts";

export interface ClientOptions {
  /** Bytes of a message that is received. Default 16 MiB. */
  readonly maxMessageBytes?: number;
  readonly keepAlive?: KeepAlive;
}

const MAX_MESSAGE = 16 << 20;

/** Calls over HTTP/2. */
export class GrpcClient extends Caller {
  readonly #session: ClientHttp2Session;
  readonly #maxMessageBytes: number;
  readonly #closed = new AbortController();

  /** Over a connection that is there already, whoever opened it. */
  constructor(socket: Duplex, options: ClientOptions = {}) {
    super();
    this.#session = openHttp2(socket);
    this.#maxMessageBytes = options.maxMessageBytes ?? MAX_MESSAGE;
    if (options.keepAlive !== undefined) keepAlive(this.#session, options.keepAlive);
    const gone = () => this.#closed.abort(new GrpcError(STATUS.unavailable, "grpc: the connection is closed"));
    this.#session.once("close", gone);
    socket.once("close", () => this.#session.destroy());
    if (socket.destroyed) this.#session.destroy();
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  close(): void {
    this.#session.destroy();
  }

  open<I, O>(method: Method<I, O>, { metadata = NO_METADATA, signal, timeoutMs }: CallOptions = {}): ClientCall<I, O> {
    signal?.throwIfAborted();
    if (this.#session.destroyed || this.#session.closed) {
      throw new GrpcError(STATUS.unavailable, "grpc: the connection is closed");
    }
    const stream = this.#session.request({
      ...toHeaders(metadata),
      ":method": "POST",
      ":path": method.path,
      "content-type": "application/grpc",
      te: "trailers",
      "user-agent": "gantry",
      ...(timeoutMs !== undefined && { "grpc-timeout": writeTimeout(timeoutMs) }),
    });
    return new Call(stream, method, this.#maxMessageBytes, signal, timeoutMs);
  }
}

const CANCEL = 8;

class Call<I, O> implements ClientCall<I, O> {
  readonly #stream: ClientHttp2Stream;
  readonly #method: Method<I, O>;
  readonly #incoming: Incoming;
  readonly #outgoing: Outgoing;
  /** How it ended, once it has; null is well. */
  #end: GrpcError | null | undefined;
  #release: () => void;

  constructor(
    stream: ClientHttp2Stream,
    method: Method<I, O>,
    limit: number,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ) {
    this.#stream = stream;
    this.#method = method;
    this.#incoming = new Incoming(stream, limit);
    this.#outgoing = new Outgoing(stream);
    this.#release = untilGivenUp(signal, timeoutMs, (error) => this.#fail(error));
    stream.on("error", (error) => this.#fail(new GrpcError(STATUS.unavailable, error.message)));
    stream.once("response", (headers: IncomingHttpHeaders) => this.#onHeaders(headers));
    stream.once("trailers", (headers: IncomingHttpHeaders) => this.#onTrailers(headers));
    stream.once("close", () => this.#onClose());
  }

  send(message: I): Promise<void> | undefined {
    this.#throwIfOver();
    const wait = this.#outgoing.write(this.#method.request.encode(message));
    return wait?.catch((error: unknown) => {
      this.#throwIfOver();
      throw error;
    });
  }

  end(): void {
    if (this.#stream.destroyed || this.#stream.writableEnded) return;
    this.#outgoing.flush();
    this.#stream.end();
  }

  async *batches(): AsyncIterable<readonly O[]> {
    for (;;) {
      const batch = await this.#incoming.next();
      if (batch === undefined) break;
      yield batch.map((bytes) => this.#decode(bytes));
    }
    // The end of the messages may come before what says whether it is a good one.
    if (this.#end === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#stream.once("close", resolve);
      if (!this.#stream.destroyed) await promise;
      else this.#onClose();
    }
    if (this.#end instanceof GrpcError) throw this.#end;
  }

  async *messages(): AsyncIterable<O> {
    for await (const batch of this.batches()) yield* batch;
  }

  cancel(): void {
    this.#fail(new GrpcError(STATUS.cancelled, "context canceled"));
  }

  #decode(bytes: Buffer): O {
    try {
      return decoded(this.#method.response, bytes, "response");
    } catch (error) {
      this.#fail(error as GrpcError);
      throw error;
    }
  }

  #throwIfOver(): void {
    if (this.#end === undefined) return;
    throw this.#end ?? new GrpcError(STATUS.unavailable, "grpc: the call is over");
  }

  #onHeaders(headers: IncomingHttpHeaders): void {
    const status = statusOf(headers);
    if (status !== "unset") {
      this.#over(status ?? null);
      return;
    }
    if (Number(headers[":status"]) !== 200) {
      this.#fail(new GrpcError(STATUS.unavailable, `grpc: unexpected HTTP status ${headers[":status"]}`));
    }
  }

  #onTrailers(headers: IncomingHttpHeaders): void {
    const status = statusOf(headers);
    this.#over(status === "unset" ? new GrpcError(STATUS.unknown, "grpc: the status is missing") : (status ?? null));
  }

  #onClose(): void {
    if (this.#end === undefined) this.#over(new GrpcError(STATUS.unavailable, "grpc: the connection was lost"));
    if (this.#end instanceof GrpcError) this.#incoming.fail(this.#end);
    else this.#incoming.finish();
  }

  /** The other side told how it ended: what it sent before is still to be read. */
  #over(end: GrpcError | null): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#release();
    // There is nobody left to send to.
    this.end();
  }

  /** Ends it from this side: what has come is of no use. */
  #fail(error: GrpcError): void {
    if (this.#end === undefined) {
      this.#end = error;
      this.#release();
    }
    this.#incoming.fail(this.#end ?? error);
    if (!this.#stream.destroyed) this.#stream.close(CANCEL);
  }
}

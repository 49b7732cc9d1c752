import type { Metadata } from "./metadata.ts";
import type { Method } from "./method.ts";
import { GrpcError, STATUS } from "./status.ts";

export interface CallOptions {
  readonly metadata?: Metadata;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** A call under way. Whoever opened it reads it to its end or cancels it. */
export interface ClientCall<I, O> {
  /** Sends one. A promise where the other side has to catch up first. Throws or rejects with how the call ended. */
  send(message: I): Promise<void> | undefined;
  /** No more is sent. */
  end(): void;
  /** What the other side sends, to its end. Rejects with a GrpcError. */
  messages(): AsyncIterable<O>;
  /** The same, as many at a time as have come. */
  batches(): AsyncIterable<readonly O[]>;
  cancel(): void;
}

/** The calling side of a connection. Calls reject with a GrpcError. */
export abstract class Caller {
  /** Aborted when the connection has ended, from whichever side. */
  abstract get closed(): AbortSignal;

  /** Ends the connection and all calls. */
  abstract close(): void;

  /** Both sides send as they like. */
  abstract open<I, O>(method: Method<I, O>, options?: CallOptions): ClientCall<I, O>;

  /** One request, one response. */
  async unary<I, O>(method: Method<I, O>, request: I, options: CallOptions = {}): Promise<O> {
    const call = this.open(method, options);
    await sendOnly(call, request);
    let response: { readonly message: O } | undefined;
    for await (const message of call.messages()) response ??= { message };
    if (response === undefined) throw new GrpcError(STATUS.internal, "grpc: the response is missing");
    return response.message;
  }

  /** One request, any number of responses. Leaving the loop cancels the call. */
  async *serverStream<I, O>(method: Method<I, O>, request: I, options: CallOptions = {}): AsyncIterable<O> {
    const call = this.open(method, options);
    await sendOnly(call, request);
    try {
      yield* call.messages();
    } finally {
      call.cancel();
    }
  }
}

async function sendOnly<I>(call: ClientCall<I, unknown>, request: I): Promise<void> {
  try {
    const wait = call.send(request);
    if (wait !== undefined) await wait;
    call.end();
  } catch {
    // How it ended is told where its messages are read.
  }
}

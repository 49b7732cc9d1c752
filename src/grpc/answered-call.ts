import type { Metadata } from "./metadata.ts";
import { decoded, type Method } from "./method.ts";
import { GrpcError, STATUS } from "./status.ts";

/** A call as its handler sees it. */
export interface ServerCall<I, O> {
  /** What came with it. */
  readonly metadata: Metadata;
  /** What is set before the first message goes with the answer, where the connection has headers. */
  readonly headers: Map<string, string>;
  /** Aborted when the caller has given up or gone, or its time is over. */
  readonly signal: AbortSignal;
  /** What the caller sends, until it has sent all. Rejects when the caller has gone. */
  messages(): AsyncIterable<I>;
  /** The same, as many at a time as have come: one await for a thousand small ones. */
  batches(): AsyncIterable<readonly I[]>;
  /** Sends one. A promise where the caller has to catch up first. Throws or rejects when it has gone. */
  send(message: O): Promise<void> | undefined;
}

/** A call as who answers it has it, on whatever connection it came. */
export abstract class AnsweredCall implements ServerCall<unknown, unknown> {
  readonly metadata: Metadata;
  readonly headers: Map<string, string> = new Map();
  #method: Method<unknown, unknown> | undefined;
  #isFinished = false;

  constructor(metadata: Metadata) {
    this.metadata = metadata;
  }

  abstract get signal(): AbortSignal;

  /** Tells how it ended, once. */
  abstract finish(error: GrpcError | undefined): void;

  /** The bytes of all messages that have come since; undefined at the end. */
  protected abstract next(): Promise<readonly Buffer[] | undefined>;

  protected abstract write(bytes: Uint8Array): Promise<void> | undefined;

  /** Of what its messages are made: told before the first is read or sent. */
  speaks(method: Method<unknown, unknown>): void {
    this.#method = method;
  }

  async *batches(): AsyncIterable<readonly unknown[]> {
    for (;;) {
      const batch = await this.next();
      if (batch === undefined) return;
      yield batch.map((bytes) => this.#decode(bytes));
    }
  }

  async *messages(): AsyncIterable<unknown> {
    for await (const batch of this.batches()) yield* batch;
  }

  /** The one request of a call that has one. */
  async only(): Promise<unknown> {
    const batch = await this.next();
    if (batch === undefined) throw new GrpcError(STATUS.internal, "grpc: the request is missing");
    return this.#decode(batch[0]!);
  }

  send(message: unknown): Promise<void> | undefined {
    if (this.#isFinished) throw new GrpcError(STATUS.cancelled, "grpc: the call is over");
    return this.write(this.#method!.response.encode(message));
  }

  protected get isFinished(): boolean {
    return this.#isFinished;
  }

  /** False if it has ended before. */
  protected endOnce(): boolean {
    if (this.#isFinished) return false;
    this.#isFinished = true;
    return true;
  }

  #decode(bytes: Buffer): unknown {
    return decoded(this.#method!.request, bytes, "request");
  }
}

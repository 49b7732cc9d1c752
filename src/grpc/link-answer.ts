import { type CallLink, Channel } from "./channel.ts";
import { FRAME } from "./frames.ts";
import type { Metadata } from "./metadata.ts";
import type { Method } from "./method.ts";
import type { AnsweredCall } from "./server.ts";
import { GrpcError, LONGEST_MS, STATUS, shortStatus } from "./status.ts";

/** A call on a link, as who answers it sees it. */
export class Answer implements AnsweredCall {
  readonly metadata: Metadata;
  readonly headers: Map<string, string> = new Map();
  readonly channel: Channel;
  readonly #link: CallLink;
  readonly #number: number;
  readonly #controller = new AbortController();
  readonly #deadline: NodeJS.Timeout | undefined;
  #method: Method<unknown, unknown> | undefined;
  #finished = false;

  constructor(link: CallLink, number: number, metadata: Metadata, timeoutMs: number | undefined) {
    this.#link = link;
    this.#number = number;
    this.metadata = metadata;
    this.channel = new Channel(link, number);
    if (timeoutMs === undefined || timeoutMs > LONGEST_MS) return;
    this.#deadline = setTimeout(() => {
      this.finish(new GrpcError(STATUS.deadlineExceeded, "context deadline exceeded"));
      this.abort("the caller's time is over");
    }, timeoutMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  speaks(method: Method<unknown, unknown>): void {
    this.#method = method;
  }

  async *batches(): AsyncIterable<readonly unknown[]> {
    for (;;) {
      const batch = await this.channel.next();
      if (batch === undefined) return;
      yield batch.map((bytes) => this.#decode(bytes));
    }
  }

  async *messages(): AsyncIterable<unknown> {
    for await (const batch of this.batches()) yield* batch;
  }

  async only(): Promise<unknown> {
    const batch = await this.channel.next();
    if (batch === undefined) throw new GrpcError(STATUS.internal, "grpc: the request is missing");
    return this.#decode(batch[0]!);
  }

  send(message: unknown): Promise<void> | undefined {
    if (this.#finished) throw new GrpcError(STATUS.cancelled, "grpc: the call is over");
    return this.channel.write(this.#method!.response.encode(message));
  }

  finish(error: GrpcError | undefined): void {
    if (this.#finished) return;
    this.#finished = true;
    clearTimeout(this.#deadline);
    this.channel.after(() => {
      this.#link.send(FRAME.status, this.#number, error === undefined ? undefined : shortStatus(error));
      this.#end(new GrpcError(STATUS.cancelled, "grpc: the call is over"));
    });
  }

  /** Nobody waits for the answer any more. */
  abort(why: string): void {
    const error = new GrpcError(STATUS.cancelled, why);
    this.#end(error);
    this.#controller.abort(error);
  }

  #end(error: GrpcError): void {
    clearTimeout(this.#deadline);
    this.#link.forget(this.#number);
    this.channel.drop();
    this.channel.fail(error);
    this.channel.close(error);
  }

  #decode(bytes: Buffer): unknown {
    try {
      return this.#method!.request.decode(bytes);
    } catch (error) {
      throw new GrpcError(STATUS.internal, `grpc: error unmarshalling request: ${(error as Error).message}`);
    }
  }
}

import type { ClientCall } from "./caller.ts";
import { type CallLink, Channel } from "./channel.ts";
import { FRAME } from "./frames.ts";
import { untilGivenUp } from "./giving-up.ts";
import { decoded, type Method } from "./method.ts";
import { GrpcError, STATUS, toGrpcError } from "./status.ts";

/** A call on a link, as who began it sees it. */
export class LinkCall<I, O> implements ClientCall<I, O> {
  readonly channel: Channel;
  readonly #link: CallLink;
  readonly #number: number;
  readonly #method: Method<I, O>;
  readonly #release: () => void;
  #isOver = false;
  #hasEnded = false;

  constructor(
    link: CallLink,
    number: number,
    method: Method<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ) {
    this.#link = link;
    this.#number = number;
    this.#method = method;
    this.channel = new Channel(link, number);
    this.#release = untilGivenUp(signal, timeoutMs, (error) => this.#fail(error));
  }

  send(message: I): Promise<void> | undefined {
    try {
      return this.channel.write(this.#method.request.encode(message));
    } catch (error) {
      // Whoever reads its messages is told, too; of a call that is over there may still be some.
      if (!this.#isOver) this.#fail(toGrpcError(error));
      throw error;
    }
  }

  end(): void {
    if (this.#isOver || this.#hasEnded) return;
    this.#hasEnded = true;
    this.channel.after(() => this.#link.send(FRAME.end, this.#number));
  }

  async *batches(): AsyncIterable<readonly O[]> {
    for (;;) {
      const batch = await this.channel.next();
      if (batch === undefined) return;
      yield batch.map((bytes) => this.#decode(bytes));
    }
  }

  async *messages(): AsyncIterable<O> {
    for await (const batch of this.batches()) yield* batch;
  }

  cancel(): void {
    this.#fail(new GrpcError(STATUS.cancelled, "context canceled"));
  }

  /** The other side has told how it ended: what it sent before is still to be read. */
  over(error: GrpcError | undefined): void {
    if (!this.#end(error)) return;
    if (error === undefined) this.channel.finish();
    else this.channel.fail(error);
  }

  /** Ends it from this side: what has come is of no use, though the other side may have ended it before. */
  #fail(error: GrpcError): void {
    this.channel.drop();
    if (!this.#end(error)) return;
    this.#link.send(FRAME.cancel, this.#number);
    this.channel.fail(error);
  }

  #end(error: GrpcError | undefined): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#release();
    this.#link.forget(this.#number);
    this.channel.close(error ?? new GrpcError(STATUS.unavailable, "grpc: the call is over"));
    return true;
  }

  #decode(bytes: Buffer): O {
    try {
      return decoded(this.#method.response, bytes, "response");
    } catch (error) {
      this.#fail(error as GrpcError);
      throw error;
    }
  }
}

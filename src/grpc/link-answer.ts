import { AnsweredCall } from "./answered-call.ts";
import { type CallLink, Channel } from "./channel.ts";
import { FRAME } from "./frames.ts";
import type { Metadata } from "./metadata.ts";
import { GrpcError, LONGEST_MS, STATUS, shortStatus } from "./status.ts";

/** A call on a link, as who answers it sees it. */
export class Answer extends AnsweredCall {
  readonly channel: Channel;
  readonly #link: CallLink;
  readonly #number: number;
  readonly #controller = new AbortController();
  readonly #deadline: NodeJS.Timeout | undefined;

  constructor(link: CallLink, number: number, metadata: Metadata, timeoutMs: number | undefined) {
    super(metadata);
    this.#link = link;
    this.#number = number;
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

  protected next(): Promise<readonly Buffer[] | undefined> {
    return this.channel.next();
  }

  protected write(bytes: Uint8Array): Promise<void> | undefined {
    return this.channel.write(bytes);
  }

  finish(error: GrpcError | undefined): void {
    if (!this.endOnce()) return;
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
}

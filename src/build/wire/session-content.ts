import { GantryError } from "../../base/errors.ts";
import { create } from "../../buildkit/message.ts";
import {
  CONTENT,
  InfoRequestSchema,
  ReadContentRequestSchema,
  SESSION_METADATA,
  WriteContentRequestSchema,
} from "../../buildkit/session.ts";
import type { Caller } from "../../grpc/caller.ts";
import { GrpcError, STATUS, toGantryError } from "../../grpc/status.ts";
import type { SessionContent } from "../session.ts";

/** What a request for writing does. */
const ACTION = { stat: 0, write: 1, commit: 2 } as const;
const PIECE = 1 << 20;
let counter = 0;

/** A store of blobs that a client has, in an OCI layout of its disk, say. */
export class ClientContent implements SessionContent {
  readonly #client: Caller;
  readonly #metadata: ReadonlyMap<string, readonly string[]>;

  constructor(client: Caller, store: string) {
    this.#client = client;
    this.#metadata = new Map([
      [SESSION_METADATA.store, [store]],
      // Which a store of containerd's kind has to be told; it has no meaning in a layout.
      ["containerd-namespace-ttrpc", ["buildkit"]],
      ["containerd-namespace", ["buildkit"]],
    ]);
  }

  async info(digest: string, signal: AbortSignal): Promise<{ readonly size: number }> {
    try {
      const request = create(InfoRequestSchema, { digest });
      const { info } = await this.#client.unary(CONTENT.info, request, { metadata: this.#metadata, signal });
      return { size: Number(info?.size ?? 0) };
    } catch (error) {
      throw toGantryError(error);
    }
  }

  async read(digest: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    // Asked first, so that what isn't there shows before anything is read.
    const { size } = await this.info(digest, signal);
    return this.#read(digest, size, signal);
  }

  async *#read(digest: string, size: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const request = create(ReadContentRequestSchema, { digest, offset: 0n, size: BigInt(size) });
    let at = 0;
    try {
      for await (const { offset, data } of this.#client.serverStream(CONTENT.read, request, {
        metadata: this.#metadata,
        signal,
      })) {
        if (Number(offset) !== at || at + data.length > size) {
          throw new GantryError("invalid", `the client sends other bytes of ${digest} than were asked for`);
        }
        at += data.length;
        yield data;
      }
    } catch (error) {
      throw toGantryError(error);
    }
    if (at !== size) throw new GantryError("invalid", `the client sent ${at} of the ${size} bytes of ${digest}`);
  }

  async write(digest: string, size: number, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const ref = `gantry-${process.pid}-${++counter}-${digest}`;
    const total = BigInt(size);
    const call = this.#client.open(CONTENT.write, { metadata: this.#metadata, signal });
    const answers = call.messages()[Symbol.asyncIterator]();
    try {
      const ask = async (request: Parameters<typeof call.send>[0]) => {
        await call.send(request);
        const { value, done } = await answers.next();
        if (done === true) throw new GantryError("unavailable", `the client ended before it had taken ${digest}`);
        return value;
      };
      await ask(create(WriteContentRequestSchema, { action: ACTION.stat, ref, total, expected: digest }));
      let offset = 0n;
      for await (const piece of bytes) {
        for (let at = 0; at < piece.length; at += PIECE) {
          const data = piece.subarray(at, at + PIECE);
          await ask(create(WriteContentRequestSchema, { action: ACTION.write, ref, offset, data }));
          offset += BigInt(data.length);
        }
      }
      await ask(create(WriteContentRequestSchema, { action: ACTION.commit, ref, total, offset, expected: digest }));
      call.end();
      while ((await answers.next()).done !== true);
    } catch (error) {
      if (error instanceof GrpcError && error.code === STATUS.alreadyExists) return;
      throw toGantryError(error);
    } finally {
      call.cancel();
    }
  }
}

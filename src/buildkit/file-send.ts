import { GantryError, messageOf } from "../base/errors.ts";
import { isRegular } from "./file-order.ts";
import type { Stat } from "./packet.ts";
import type { PacketStream } from "./packet-stream.ts";

/** Files whose bytes are sent at a time. */
const SENDERS = 4;
/** Bytes of a packet: far from what a message may have. */
const PIECE = 512 << 10;

/** A folder as it is sent. */
export interface FileSource {
  /** All files in the order of a walk: folders before what is in them, names by their bytes. */
  files(): AsyncIterable<Stat> | Iterable<Stat>;
  /** The bytes of a regular file. */
  open(path: string): AsyncIterable<Uint8Array>;
}

/**
 * The sending side of fsutil's protocol: tells all files, sends those that are asked for. Resolves when the other side
 * has all that it wants; rejects with what went wrong on either.
 */
export async function sendFiles(stream: PacketStream, source: FileSource): Promise<void> {
  await new Sending(stream, source).run();
}

class Sending {
  readonly #stream: PacketStream;
  readonly #source: FileSource;
  readonly #paths = new Map<number, string>();
  readonly #asked: number[] = [];
  readonly #failure = Promise.withResolvers<never>();
  #senders = 0;

  constructor(stream: PacketStream, source: FileSource) {
    this.#stream = stream;
    this.#source = source;
  }

  async run(): Promise<void> {
    const listening = this.#listen();
    const telling = this.#tell().catch((error: unknown) => this.#fail(error));
    try {
      await Promise.race([listening, this.#failure.promise]);
      await telling;
    } catch (error) {
      try {
        await this.#stream.send({ type: "error", message: messageOf(error).slice(0, 1000) });
        this.#stream.end?.();
      } catch {
        // It is gone, or has failed itself.
      }
      listening.catch(() => {});
      throw error;
    }
  }

  async #tell(): Promise<void> {
    let id = 0;
    for await (const stat of this.#source.files()) {
      if (isRegular(stat.mode)) this.#paths.set(id, stat.path);
      id++;
      const wait = this.#stream.send({ type: "stat", stat });
      if (wait !== undefined) await wait;
    }
    await this.#stream.send({ type: "stat", stat: undefined });
  }

  async #listen(): Promise<void> {
    let isDone = false;
    for await (const packets of this.#stream.batches()) {
      for (const packet of packets) {
        if (packet.type === "request") this.#ask(packet.id);
        else if (packet.type === "error") {
          throw new GantryError("invalid", `error from receiver: ${packet.message.slice(0, 1000)}`);
        } else if (packet.type === "end") {
          isDone = true;
          await this.#stream.send({ type: "end" });
          this.#stream.end?.();
          // A caller reads how the call ends; who is called ends it.
          if (this.#stream.end === undefined) return;
        }
      }
    }
    if (!isDone) throw new GantryError("invalid", "the receiver ended before it had all files");
  }

  #ask(id: number): void {
    if (!this.#paths.has(id)) throw new GantryError("invalid", `invalid file id ${id}`);
    this.#asked.push(id);
    if (this.#senders < SENDERS) void this.#serve();
  }

  async #serve(): Promise<void> {
    this.#senders++;
    try {
      for (let id = this.#asked.shift(); id !== undefined; id = this.#asked.shift()) await this.#send(id);
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#senders--;
    }
  }

  async #send(id: number): Promise<void> {
    const path = this.#paths.get(id);
    if (path === undefined) return;
    this.#paths.delete(id);
    for await (const bytes of this.#source.open(path)) {
      for (let at = 0; at < bytes.length; at += PIECE) {
        await this.#stream.send({ type: "data", id, bytes: bytes.subarray(at, at + PIECE) });
      }
    }
    await this.#stream.send({ type: "data", id, bytes: new Uint8Array() });
  }

  #fail(error: unknown): void {
    this.#failure.promise.catch(() => {});
    this.#failure.reject(error);
  }
}

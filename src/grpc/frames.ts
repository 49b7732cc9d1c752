import { GrpcError, STATUS } from "./status.ts";

/**
 * Frames of a link: four bytes of the length of what is in it, four of the call's number, one of its kind, and its
 * bytes. Numbers are big-endian.
 */
export const FRAME = {
  /** A call begins: JSON of its path, metadata and time. */
  open: 1,
  message: 2,
  /** Who began the call sends no more messages. */
  end: 3,
  /** Who answers is done: nothing if it went well, else a `google.rpc.Status`. */
  status: 4,
  /** Who began the call has given it up. */
  cancel: 5,
  /** Four bytes: so many more of messages may be sent. */
  credit: 6,
  ping: 7,
  pong: 8,
} as const;

export type FrameKind = (typeof FRAME)[keyof typeof FRAME];

export const HEAD_BYTES = 9;
/** Of what isn't a message. */
export const SMALL: number = 1 << 20;
const LAST = FRAME.pong;

export function writeHead(into: Buffer, at: number, kind: FrameKind, call: number, length: number): void {
  into.writeUInt32BE(length, at);
  into.writeUInt32BE(call, at + 4);
  into[at + 8] = kind;
}

/** Cuts bytes into frames. */
export class FrameReader {
  readonly #mostBytes: number;
  readonly #onFrame: (kind: FrameKind, call: number, bytes: Buffer) => void;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  /** What has come of a frame that isn't whole: of its head, then of what is in it. */
  #have = 0;
  /** One buffer, however small the pieces are that it comes in. */
  #body: Buffer | undefined;

  /** `mostBytes` is a message's limit. */
  constructor(mostBytes: number, onFrame: (kind: FrameKind, call: number, bytes: Buffer) => void) {
    this.#mostBytes = mostBytes;
    this.#onFrame = onFrame;
  }

  /** Tells of all frames that are whole with these bytes, which may share their memory. Throws for what is none. */
  feed(chunk: Buffer): void {
    let at = this.#have > 0 || this.#body !== undefined ? this.#complete(chunk) : 0;
    while (chunk.length - at >= HEAD_BYTES) {
      const from = at + HEAD_BYTES;
      const end = from + this.#lengthAt(chunk, at);
      if (end > chunk.length) break;
      this.#tell(chunk, at, chunk.subarray(from, end));
      at = end;
    }
    if (at < chunk.length) this.#complete(chunk.subarray(at));
  }

  /** Adds to the frame that isn't whole, and says how many of the bytes were its own. */
  #complete(chunk: Buffer): number {
    let at = 0;
    if (this.#body === undefined) {
      at = chunk.copy(this.#head, this.#have, 0, HEAD_BYTES - this.#have);
      this.#have += at;
      if (this.#have < HEAD_BYTES) return at;
      this.#body = Buffer.allocUnsafe(this.#lengthAt(this.#head, 0));
      this.#have = 0;
    }
    const added = chunk.copy(this.#body, this.#have, at);
    this.#have += added;
    if (this.#have < this.#body.length) return at + added;
    const body = this.#body;
    this.#body = undefined;
    this.#have = 0;
    this.#tell(this.#head, 0, body);
    return at + added;
  }

  #tell(head: Buffer, at: number, bytes: Buffer): void {
    this.#onFrame(head[at + 8] as FrameKind, head.readUInt32BE(at + 4), bytes);
  }

  #lengthAt(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32BE(at);
    const kind = bytes[at + 8]!;
    if (kind < FRAME.open || kind > LAST) {
      throw new GrpcError(STATUS.internal, `grpc: there is no frame of kind ${kind}`);
    }
    const most = kind === FRAME.message ? this.#mostBytes : SMALL;
    if (length > most) {
      const text = `grpc: received message larger than max (${length} vs. ${most})`;
      throw new GrpcError(STATUS.resourceExhausted, text);
    }
    return length;
  }
}

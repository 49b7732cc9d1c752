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
const SMALL = 1 << 20;
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
  /** Bytes of a frame that isn't whole, from its head on. */
  #pieces: Buffer[] = [];
  #have = 0;
  /** Bytes of the whole frame; of its head until that is known. */
  #need = HEAD_BYTES;

  /** `mostBytes` is a message's limit. */
  constructor(mostBytes: number, onFrame: (kind: FrameKind, call: number, bytes: Buffer) => void) {
    this.#mostBytes = mostBytes;
    this.#onFrame = onFrame;
  }

  /** Tells of all frames that are whole with these bytes, which may share their memory. Throws for what is none. */
  feed(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#have > 0) {
      this.#pieces.push(chunk);
      this.#have += chunk.length;
      if (this.#have < this.#need) return;
      bytes = Buffer.concat(this.#pieces, this.#have);
      this.#pieces = [];
      this.#have = 0;
    }
    let at = 0;
    for (;;) {
      const left = bytes.length - at;
      this.#need = left < HEAD_BYTES ? HEAD_BYTES : HEAD_BYTES + this.#lengthAt(bytes, at);
      if (left < this.#need) break;
      const end = at + this.#need;
      const kind = bytes[at + 8] as FrameKind;
      const call = bytes.readUInt32BE(at + 4);
      const from = at + HEAD_BYTES;
      at = end;
      this.#onFrame(kind, call, bytes.subarray(from, end));
    }
    if (at === bytes.length) return;
    this.#pieces = [bytes.subarray(at)];
    this.#have = bytes.length - at;
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

/**
 * The wire of netlink: messages of a header, a fixed part and attributes (type, length, value, padded to 4 bytes), in
 * the machine's own byte order (little-endian on all that Gantry runs on).
 */

export const NLM_F = {
  request: 1,
  ack: 4,
  dumpInterrupted: 0x10,
  replace: 0x100,
  excl: 0x200,
  dump: 0x300,
  create: 0x400,
} as const;
const NLA_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
export const HEADER = 16;

export interface Attribute {
  readonly type: number;
  readonly value: Uint8Array;
}

export function bytes(type: number, value: Uint8Array): Attribute {
  return { type, value };
}

export function u8(type: number, value: number): Attribute {
  return { type, value: Uint8Array.of(value) };
}

export function u16(type: number, value: number): Attribute {
  const buffer = Buffer.allocUnsafe(2);
  buffer.writeUInt16LE(value);
  return { type, value: buffer };
}

export function u32(type: number, value: number): Attribute {
  const buffer = Buffer.allocUnsafe(4);
  buffer.writeUInt32LE(value >>> 0);
  return { type, value: buffer };
}

export function text(type: number, value: string): Attribute {
  return { type, value: Buffer.from(`${value}\0`) };
}

/** Attributes inside an attribute; `head` is a fixed structure before them, as a veth's peer has one. */
export function nest(type: number, attributes: readonly Attribute[], head?: Uint8Array): Attribute {
  const inner = encodeAttributes(attributes);
  return { type: type | NLA_NESTED, value: head === undefined ? inner : Buffer.concat([head, inner]) };
}

/** Attributes inside an attribute that are encoded already. */
export function nested(type: number, value: Uint8Array): Attribute {
  return { type: type | NLA_NESTED, value };
}

function encodeAttributes(attributes: readonly Attribute[]): Buffer {
  let size = 0;
  for (const { value } of attributes) size += align(4 + value.length);
  const buffer = Buffer.alloc(size);
  let at = 0;
  for (const { type, value } of attributes) {
    buffer.writeUInt16LE(4 + value.length, at);
    buffer.writeUInt16LE(type, at + 2);
    buffer.set(value, at + 4);
    at += align(4 + value.length);
  }
  return buffer;
}

/** A whole message; its sequence number is written by the socket. */
export function encodeMessage(type: number, flags: number, head: Uint8Array, attributes: readonly Attribute[]): Buffer {
  const body = encodeAttributes(attributes);
  const headSize = align(head.length);
  const buffer = Buffer.alloc(HEADER + headSize + body.length);
  buffer.writeUInt32LE(buffer.length, 0);
  buffer.writeUInt16LE(type, 4);
  buffer.writeUInt16LE(flags, 6);
  buffer.set(head, HEADER);
  buffer.set(body, HEADER + headSize);
  return buffer;
}

/** The attributes from `start` on, by type; of a type that comes twice the last. */
export function decodeAttributes(buffer: Buffer, start = 0): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  let at = start;
  while (at + 4 <= buffer.length) {
    const length = buffer.readUInt16LE(at);
    if (length < 4 || at + length > buffer.length) break;
    found.set(buffer.readUInt16LE(at + 2) & NLA_TYPE_MASK, buffer.subarray(at + 4, at + length));
    at += align(length);
  }
  return found;
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** What follows the header. */
  readonly body: Buffer;
}

/** Splits what one recv returned into its messages. */
export function* decodeMessages(buffer: Buffer): Generator<Message> {
  let at = 0;
  while (at + HEADER <= buffer.length) {
    const length = buffer.readUInt32LE(at);
    if (length < HEADER || at + length > buffer.length) return;
    yield {
      type: buffer.readUInt16LE(at + 4),
      flags: buffer.readUInt16LE(at + 6),
      sequence: buffer.readUInt32LE(at + 8),
      body: buffer.subarray(at + HEADER, at + length),
    };
    at += align(length);
  }
}

/** A kernel string attribute without its NUL. */
export function readText(value: Buffer | undefined): string {
  if (value === undefined) return "";
  const end = value.indexOf(0);
  return value.toString("utf8", 0, end < 0 ? value.length : end);
}

function align(length: number): number {
  return (length + 3) & ~3;
}

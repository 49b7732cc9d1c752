/** MessagePack: the types that the forward protocol is made of. */
export type Packable =
  | string
  | number
  | boolean
  | null
  | Uint8Array
  | EventTime
  | readonly Packable[]
  | { readonly [key: string]: Packable };

/** Fluentd's time of nanoseconds: extension type 0 of eight bytes. */
export class EventTime {
  readonly seconds: number;
  readonly nanos: number;

  constructor(seconds: number, nanos: number) {
    this.seconds = seconds;
    this.nanos = nanos;
  }
}

/** Bytes are written as a string: what prints may hold any of them, and receivers want text. */
export class PackedWriter {
  #block = Buffer.allocUnsafe(64 * 1024);
  #size = 0;

  get bytes(): Buffer {
    return Buffer.from(this.#block.subarray(0, this.#size));
  }

  array(length: number): this {
    return this.#head(length, 0x90, 15, undefined, 0xdc);
  }

  map(length: number): this {
    return this.#head(length, 0x80, 15, undefined, 0xde);
  }

  raw(bytes: Uint8Array): this {
    this.#room(bytes.length);
    this.#block.set(bytes, this.#size);
    this.#size += bytes.length;
    return this;
  }

  text(bytes: Uint8Array): this {
    return this.#head(bytes.length, 0xa0, 31, 0xd9, 0xda).raw(bytes);
  }

  value(value: Packable): this {
    if (typeof value === "string") return this.text(Buffer.from(value));
    if (value instanceof Uint8Array) return this.text(value);
    if (typeof value === "number") return this.#number(value);
    if (value === null) return this.raw(Uint8Array.of(0xc0));
    if (typeof value === "boolean") return this.raw(Uint8Array.of(value ? 0xc3 : 0xc2));
    if (value instanceof EventTime) {
      const bytes = Buffer.from([0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
      bytes.writeUInt32BE(value.seconds, 2);
      bytes.writeUInt32BE(value.nanos, 6);
      return this.raw(bytes);
    }
    if (Array.isArray(value)) {
      this.array(value.length);
      for (const item of value as readonly Packable[]) this.value(item);
      return this;
    }
    const entries = Object.entries(value as { readonly [key: string]: Packable });
    this.map(entries.length);
    for (const [key, item] of entries) this.value(key).value(item);
    return this;
  }

  #number(value: number): this {
    if (Number.isInteger(value) && value >= 0 && value < 0x80) return this.raw(Uint8Array.of(value));
    const isUnsigned = Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
    const bytes = Buffer.alloc(isUnsigned ? 5 : 9);
    bytes[0] = isUnsigned ? 0xce : 0xcb;
    if (isUnsigned) bytes.writeUInt32BE(value, 1);
    else bytes.writeDoubleBE(value, 1);
    return this.raw(bytes);
  }

  /** A length in the shortest form: within the type's own byte, then of 8 (where there is one), 16 and 32 bits. */
  #head(length: number, fixed: number, most: number, byte: number | undefined, word: number): this {
    if (length <= most) return this.raw(Uint8Array.of(fixed | length));
    if (byte !== undefined && length < 0x100) return this.raw(Uint8Array.of(byte, length));
    const bytes = Buffer.alloc(length < 0x1_0000 ? 3 : 5);
    bytes[0] = length < 0x1_0000 ? word : word + 1;
    if (bytes.length === 3) bytes.writeUInt16BE(length, 1);
    else bytes.writeUInt32BE(length, 1);
    return this.raw(bytes);
  }

  #room(size: number): void {
    if (this.#size + size <= this.#block.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#block.length, this.#size + size));
    this.#block.copy(larger, 0, 0, this.#size);
    this.#block = larger;
  }
}

const INCOMPLETE = new RangeError("incomplete");
const MOST_DEPTH = 32;

/** The first value in `bytes` and its size; undefined if it is not all there. Throws for what is no MessagePack. */
export function unpack(bytes: Buffer): { readonly value: unknown; readonly size: number } | undefined {
  const reader = new PackedReader(bytes);
  try {
    return { value: reader.value(0), size: reader.at };
  } catch (error) {
    if (error === INCOMPLETE) return undefined;
    throw error;
  }
}

class PackedReader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  value(depth: number): unknown {
    if (depth > MOST_DEPTH) throw new Error("nested too deep");
    const type = this.#uint(1);
    if (type < 0x80) return type;
    if (type < 0x90) return this.#map(type & 15, depth);
    if (type < 0xa0) return this.#array(type & 15, depth);
    if (type < 0xc0) return this.#take(type & 31).toString("utf8");
    if (type >= 0xe0) return type - 0x100;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return type === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return Buffer.from(this.#take(this.#uint(1 << (type - 0xc4))));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#uint(1 << (type - 0xc7)));
      case 0xca:
        return this.#take(4).readFloatBE();
      case 0xcb:
        return this.#take(8).readDoubleBE();
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (type - 0xcc));
      case 0xcf:
        return Number(this.#take(8).readBigUInt64BE());
      case 0xd0:
      case 0xd1:
      case 0xd2:
        return this.#take(1 << (type - 0xd0)).readIntBE(0, 1 << (type - 0xd0));
      case 0xd3:
        return Number(this.#take(8).readBigInt64BE());
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (type - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#take(this.#uint(1 << (type - 0xd9))).toString("utf8");
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(2 << (type - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(2 << (type - 0xde)), depth);
      default:
        throw new Error("no MessagePack");
    }
  }

  #extension(size: number): EventTime | Buffer {
    const type = this.#uint(1);
    const bytes = this.#take(size);
    return type === 0 && size === 8 ? new EventTime(bytes.readUInt32BE(0), bytes.readUInt32BE(4)) : Buffer.from(bytes);
  }

  #array(length: number, depth: number): unknown[] {
    // As many as there can be: a length that is a lie must not take memory.
    if (length > this.#bytes.length - this.at) throw INCOMPLETE;
    return Array.from({ length }, () => this.value(depth + 1));
  }

  #map(length: number, depth: number): Record<string, unknown> {
    if (length > this.#bytes.length - this.at) throw INCOMPLETE;
    return Object.fromEntries(
      Array.from({ length }, () => [String(this.value(depth + 1)), this.value(depth + 1)] as const),
    );
  }

  #uint(size: number): number {
    return this.#take(size).readUIntBE(0, size);
  }

  #take(size: number): Buffer {
    const end = this.at + size;
    if (end > this.#bytes.length) throw INCOMPLETE;
    const bytes = this.#bytes.subarray(this.at, end);
    this.at = end;
    return bytes;
  }
}

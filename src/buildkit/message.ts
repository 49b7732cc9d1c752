import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** How messages are put on the wire: what the generated code says of each. */
export interface Schema<T> {
  readonly name: string;
  readonly fields: readonly Field[];
  /** Only for the compiler. */
  readonly of?: T;
}

export type Scalar = "string" | "bytes" | "bool" | "int32" | "uint32" | "int64";

export interface Field {
  readonly name: string;
  readonly number: number;
  /** A function, since messages may hold messages of their own kind. */
  readonly kind: Scalar | (() => Schema<unknown>);
  readonly repeated?: boolean;
  /** Of a map: its keys; its values are `kind`. They are strings here in any case. */
  readonly key?: Scalar;
  /** The member that has it as one of several: `{ case, value }`. */
  readonly oneof?: string;
}

/** What a message may be made of: any of its fields, and of those that are messages again. */
export type Init<T> = T extends Uint8Array | bigint | string | number | boolean | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Init<Item>[]
    : { readonly [K in keyof T]?: Init<T[K]> | undefined };

type Values = Record<string, unknown>;
interface Choice {
  readonly case: string | undefined;
  readonly value?: unknown;
}

export function schema<T>(name: string, fields: readonly Field[]): Schema<T> {
  return { name, fields };
}

/** A message with these fields; the others are as protobuf has them where nothing is said. */
export function create<T>(of: Schema<T>, init: Init<T> = {} as Init<T>): T {
  const message: Values = {};
  const given = init as Values;
  for (const field of of.fields) {
    const { name, oneof } = field;
    if (oneof !== undefined) {
      message[oneof] ??= madeChoice(of, oneof, given[oneof] as Choice | undefined);
    } else if (given[name] !== undefined) {
      message[name] = madeOf(field, given[name]);
    } else if (initial(field) !== undefined) {
      message[name] = initial(field);
    }
  }
  return message as T;
}

function madeChoice(of: Schema<unknown>, oneof: string, choice: Choice | undefined): Choice {
  const field = of.fields.find((one) => one.oneof === oneof && one.name === choice?.case);
  return field === undefined ? { case: undefined } : { case: field.name, value: made(field, choice?.value) };
}

function madeOf(field: Field, value: unknown): unknown {
  if (field.repeated) return (value as unknown[]).map((item) => made(field, item));
  if (field.key === undefined) return made(field, value);
  return Object.fromEntries(Object.entries(value as Values).map(([key, each]) => [key, made(field, each)]));
}

function made({ kind }: Field, value: unknown): unknown {
  return typeof kind === "function" ? create(kind(), value as Init<unknown>) : value;
}

const ZERO: Readonly<Record<Scalar, unknown>> = {
  string: "",
  bytes: new Uint8Array(),
  bool: false,
  int32: 0,
  uint32: 0,
  int64: 0n,
};

function initial({ key, kind, repeated }: Field): unknown {
  if (repeated) return [];
  if (key !== undefined) return {};
  return typeof kind === "function" ? undefined : ZERO[kind];
}

export function encode<T>(of: Schema<T>, message: T): Uint8Array {
  const writer = new BinaryWriter();
  write(of, message as Values, writer);
  return writer.finish();
}

function write(of: Schema<unknown>, message: Values, writer: BinaryWriter): void {
  for (const field of of.fields) {
    if (field.oneof !== undefined) {
      const choice = message[field.oneof] as Choice | undefined;
      if (choice?.case === field.name) writeOne(field, field.number, choice.value, writer);
      continue;
    }
    const value = message[field.name];
    if (value === undefined) continue;
    if (field.key !== undefined) writeMap(field, value as Values, writer);
    else if (field.repeated) writeAll(field, value as readonly unknown[], writer);
    else if (!isZero(field.kind, value)) writeOne(field, field.number, value, writer);
  }
}

/** Numbers that are many lie side by side, as proto3 has them. */
function writeAll(field: Field, values: readonly unknown[], writer: BinaryWriter): void {
  const isPacked = typeof field.kind === "string" && field.kind !== "string" && field.kind !== "bytes";
  if (!isPacked) {
    for (const value of values) writeOne(field, field.number, value, writer);
  } else if (values.length > 0) {
    writer.tag(field.number, WireType.LengthDelimited).fork();
    for (const value of values) writeScalar(field.kind as Scalar, value, writer);
    writer.join();
  }
}

function writeMap(field: Field, map: Values, writer: BinaryWriter): void {
  const key = field.key!;
  for (const [name, value] of Object.entries(map)) {
    writer.tag(field.number, WireType.LengthDelimited).fork();
    writer.tag(1, wireType(key));
    writeScalar(key, key === "int64" ? BigInt(name) : key === "string" ? name : Number(name), writer);
    writeOne(field, 2, value, writer);
    writer.join();
  }
}

function writeOne({ kind }: Field, number: number, value: unknown, writer: BinaryWriter): void {
  if (typeof kind === "string") {
    writer.tag(number, wireType(kind));
    writeScalar(kind, value, writer);
    return;
  }
  writer.tag(number, WireType.LengthDelimited).fork();
  write(kind(), value as Values, writer);
  writer.join();
}

function writeScalar(kind: Scalar, value: unknown, writer: BinaryWriter): void {
  if (kind === "string") writer.string(value as string);
  else if (kind === "bytes") writer.bytes(value as Uint8Array);
  else if (kind === "bool") writer.bool(value as boolean);
  else if (kind === "int32") writer.int32(value as number);
  else if (kind === "uint32") writer.uint32(value as number);
  else writer.int64(value as bigint);
}

function wireType(kind: Scalar): WireType {
  return kind === "string" || kind === "bytes" ? WireType.LengthDelimited : WireType.Varint;
}

function isZero(kind: Field["kind"], value: unknown): boolean {
  if (typeof kind === "function") return false;
  return kind === "bytes" ? (value as Uint8Array).length === 0 : value === ZERO[kind];
}

/**
 * Throws for bytes that are no message, and for one of more than `mostFields` fields, its messages' among them: each takes
 * its time. What this schema doesn't know is passed over.
 */
export function decode<T>(of: Schema<T>, bytes: Uint8Array, mostFields: number = Number.POSITIVE_INFINITY): T {
  const reader = new FieldReader(bytes, mostFields);
  return read(of, reader, reader.len, 0) as T;
}

class FieldReader extends BinaryReader {
  readonly #most: number;
  #count = 0;

  constructor(bytes: Uint8Array, most: number) {
    super(bytes);
    this.#most = most;
  }

  override tag(): [number, WireType] {
    this.count();
    return super.tag();
  }

  count(): void {
    if (++this.#count > this.#most) throw new Error(`a message has more than ${this.#most} fields`);
  }
}

/** Deeper than any message of ours. */
const MAX_DEPTH = 100;

function read(of: Schema<unknown>, reader: FieldReader, end: number, depth: number): Values {
  if (depth > MAX_DEPTH) throw new Error("a message is nested too deep");
  const message = create(of) as Values;
  while (reader.pos < end) {
    const [number, type] = reader.tag();
    const field = of.fields.find((one) => one.number === number);
    if (field === undefined) reader.skip(type, number);
    else readField(field, type, message, reader, depth);
  }
  if (reader.pos !== end) throw new Error("a field is longer than its message");
  return message;
}

function readField(field: Field, type: WireType, message: Values, reader: FieldReader, depth: number): void {
  const { key, kind, name, number, oneof, repeated } = field;
  const isPacked = repeated && typeof kind === "string" && wireType(kind) === WireType.Varint;
  if (isPacked && type === WireType.LengthDelimited) {
    const end = endOf(reader);
    while (reader.pos < end) {
      reader.count();
      (message[name] as unknown[]).push(readScalar(kind, reader));
    }
    return;
  }
  const expected = typeof kind === "function" || key !== undefined ? WireType.LengthDelimited : wireType(kind);
  if (type !== expected) {
    reader.skip(type, number);
  } else if (key !== undefined) {
    const [entry, value] = readEntry(field, key, reader, depth);
    Object.defineProperty(message[name], entry, { value, enumerable: true, writable: true, configurable: true });
  } else {
    const value = readOne(kind, reader, depth);
    if (oneof !== undefined) message[oneof] = { case: name, value };
    else if (repeated) (message[name] as unknown[]).push(value);
    else message[name] = value;
  }
}

function readEntry(field: Field, key: Scalar, reader: FieldReader, depth: number): [name: string, value: unknown] {
  const { kind } = field;
  const end = endOf(reader);
  let name = key === "string" ? "" : "0";
  let value = typeof kind === "function" ? create(kind()) : ZERO[kind];
  while (reader.pos < end) {
    const [number, type] = reader.tag();
    if (number === 1 && type === wireType(key)) name = String(readScalar(key, reader));
    else if (number === 2) value = readOne(kind, reader, depth);
    else reader.skip(type, number);
  }
  return [name, value];
}

function readOne(kind: Field["kind"], reader: FieldReader, depth: number): unknown {
  if (typeof kind === "string") return readScalar(kind, reader);
  const end = endOf(reader);
  return read(kind(), reader, end, depth + 1);
}

function endOf(reader: FieldReader): number {
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > reader.len) throw new Error("a field is longer than its message");
  return end;
}

function readScalar(kind: Scalar, reader: FieldReader): unknown {
  if (kind === "string") return reader.string();
  if (kind === "bytes") return reader.bytes();
  if (kind === "bool") return reader.bool();
  if (kind === "int32") return reader.int32();
  if (kind === "uint32") return reader.uint32();
  return BigInt(reader.int64());
}

/** `google.protobuf.Timestamp`. */
export interface Timestamp {
  seconds: bigint;
  nanos: number;
}

export const TimestampSchema: Schema<Timestamp> = schema("google.protobuf.Timestamp", [
  { name: "seconds", number: 1, kind: "int64" },
  { name: "nanos", number: 2, kind: "int32" },
]);

/** Of Unix milliseconds. */
export function timestampFromMs(milliseconds: number): Timestamp {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((milliseconds - seconds * 1000) * 1e6) };
}

/** `google.protobuf.Any`. */
export interface Any {
  typeUrl: string;
  value: Uint8Array;
}

export const AnySchema: Schema<Any> = schema("google.protobuf.Any", [
  { name: "typeUrl", number: 1, kind: "string" },
  { name: "value", number: 2, kind: "bytes" },
]);

/** `google.protobuf.Empty`. */
export type Empty = Record<string, never>;

export const EmptySchema: Schema<Empty> = schema("google.protobuf.Empty", []);

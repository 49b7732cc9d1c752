import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { type ErrorKind, GantryError, messageOf } from "../base/errors.ts";

/** How a call ended, as gRPC numbers it. */
export const STATUS = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

export type StatusCode = (typeof STATUS)[keyof typeof STATUS];

/** A time that is longer than a timer can be is no deadline. */
export const LONGEST_MS: number = 2 ** 31 - 1;

/** What explains a status to a program: a value by the URL of its type. */
export interface StatusDetail {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** A call that did not end well, on either side of it. */
export class GrpcError extends Error {
  readonly code: StatusCode;
  readonly details: readonly StatusDetail[];

  constructor(
    code: StatusCode,
    message: string,
    options: { readonly details?: readonly StatusDetail[]; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "GrpcError";
    this.code = code;
    this.details = options.details ?? [];
  }
}

const OF_KIND = {
  invalid: STATUS.invalidArgument,
  unauthenticated: STATUS.unauthenticated,
  forbidden: STATUS.permissionDenied,
  "not-found": STATUS.notFound,
  conflict: STATUS.alreadyExists,
  "not-modified": STATUS.alreadyExists,
  unavailable: STATUS.unavailable,
  "too-many-requests": STATUS.resourceExhausted,
  unsupported: STATUS.unimplemented,
  cancelled: STATUS.cancelled,
  internal: STATUS.unknown,
} as const satisfies Record<ErrorKind, StatusCode>;

/** What a handler threw, as its caller is told. */
export function toGrpcError(error: unknown): GrpcError {
  if (error instanceof GrpcError) return error;
  const code = error instanceof GantryError ? OF_KIND[error.kind] : STATUS.unknown;
  return new GrpcError(code, messageOf(error), { cause: error });
}

const KINDS: Readonly<Partial<Record<StatusCode, ErrorKind>>> = {
  [STATUS.cancelled]: "cancelled",
  [STATUS.invalidArgument]: "invalid",
  [STATUS.notFound]: "not-found",
  [STATUS.alreadyExists]: "conflict",
  [STATUS.permissionDenied]: "forbidden",
  [STATUS.unimplemented]: "unsupported",
  [STATUS.unavailable]: "unavailable",
  [STATUS.deadlineExceeded]: "unavailable",
  [STATUS.unauthenticated]: "unauthenticated",
};

/** A call's end in the words of the rest of the engine. */
export function toGantryError(error: unknown): GantryError {
  if (error instanceof GantryError) return error;
  const kind = error instanceof GrpcError ? (KINDS[error.code] ?? "invalid") : "internal";
  return new GantryError(kind, messageOf(error), { cause: error });
}

/** `grpc-message`: UTF-8, of which all but printable ASCII is percent-encoded. */
export function encodeMessage(message: string): string {
  if (/^[\x20-\x24\x26-\x7e]*$/.test(message)) return message;
  let encoded = "";
  for (const byte of Buffer.from(message, "utf8")) {
    encoded +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** Clients run by Bun lose the connection over one header of 64 KiB. */
const MAX_HEADER = 60_000;
const MAX_TEXT = 16_000;

/** The trailers that tell a call's end. Of a text that is too long the middle is left out, of details those that don't fit. */
export function trailersOf(error: GrpcError | undefined): Record<string, string> {
  if (error === undefined) return { "grpc-status": "0" };
  const message = shortened(error.message);
  const trailers: Record<string, string> = {
    "grpc-status": String(error.code),
    "grpc-message": encodeMessage(message),
  };
  const fitting: StatusDetail[] = [];
  for (const detail of error.details) {
    const packed = packedStatus(new GrpcError(error.code, message, { details: [...fitting, detail] }));
    if (packed.length > MAX_HEADER) continue;
    fitting.push(detail);
    trailers["grpc-status-details-bin"] = packed;
  }
  return trailers;
}

function packedStatus(error: GrpcError): string {
  return Buffer.from(encodeStatus(error)).toString("base64").replace(/=+$/, "");
}

/** Where no header has to hold it: details that are too large are left out all the same. */
const MAX_DETAILS = 512 << 10;

/** As `encodeStatus`, with the middle of a text that is too long left out. */
export function shortStatus({ code, details, message }: GrpcError): Uint8Array {
  let room = MAX_DETAILS;
  const fitting = details.filter(({ value }) => {
    const fits = value.length <= room;
    if (fits) room -= value.length;
    return fits;
  });
  return encodeStatus(new GrpcError(code, shortened(message), { details: fitting }));
}

/** Its ends: what failed is said at the beginning, why at the end. */
function shortened(message: string): string {
  let half = MAX_TEXT / 2;
  let short = message.length <= MAX_TEXT ? message : ends(message, half);
  while (encodeMessage(short).length > MAX_HEADER) {
    half /= 2;
    short = ends(message, half);
  }
  return short;
}

function ends(text: string, length: number): string {
  return `${text.slice(0, length)} … ${text.slice(-length)}`.toWellFormed();
}

/** What isn't a valid escape stays as it is, as the specification asks. */
export function decodeMessage(encoded: string): string {
  if (!encoded.includes("%")) return encoded;
  const bytes: number[] = [];
  for (let at = 0; at < encoded.length; at++) {
    const escaped = encoded[at] === "%" ? /^[0-9a-fA-F]{2}/.exec(encoded.slice(at + 1, at + 3))?.[0] : undefined;
    if (escaped === undefined) {
      bytes.push(...Buffer.from(encoded[at]!, "utf8"));
      continue;
    }
    bytes.push(Number.parseInt(escaped, 16));
    at += 2;
  }
  return Buffer.from(bytes).toString("utf8");
}

/** `google.rpc.Status`: what the trailer `grpc-status-details-bin` holds. */
export function encodeStatus(error: GrpcError): Uint8Array {
  const writer = new BinaryWriter().uint32(8).int32(error.code).uint32(18).string(error.message);
  for (const { typeUrl, value } of error.details) {
    writer.uint32(26).fork().uint32(10).string(typeUrl).uint32(18).bytes(value).join();
  }
  return writer.finish();
}

/** Reads what `encodeStatus` writes. undefined if it is none. */
export function decodeStatus(bytes: Uint8Array): GrpcError | undefined {
  try {
    const reader = new BinaryReader(bytes);
    let code: StatusCode = STATUS.ok;
    let message = "";
    const details: StatusDetail[] = [];
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (field === 1 && type === 0) code = statusCode(reader.int32());
      else if (field === 2 && type === 2) message = reader.string();
      else if (field === 3 && type === 2) details.push(decodeDetail(reader.bytes()));
      else reader.skip(type);
    }
    return new GrpcError(code, message, { details });
  } catch {
    return undefined;
  }
}

function decodeDetail(bytes: Uint8Array): StatusDetail {
  const reader = new BinaryReader(bytes);
  let typeUrl = "";
  let value = new Uint8Array();
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === 2) typeUrl = reader.string();
    else if (field === 2 && type === 2) value = reader.bytes() as Uint8Array<ArrayBuffer>;
    else reader.skip(type);
  }
  return { typeUrl, value };
}

/** Codes that are none count as unknown. */
export function statusCode(value: number): StatusCode {
  return Number.isInteger(value) && value >= 0 && value <= 16 ? (value as StatusCode) : STATUS.unknown;
}

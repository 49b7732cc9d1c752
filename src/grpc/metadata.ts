import type { IncomingHttpHeaders } from "node:http2";
import { decodeMessage, decodeStatus, GrpcError, STATUS, statusCode } from "./status.ts";

/** What goes with a call besides its messages: lower-case names, several values each; of `-bin` names in base64. */
export type Metadata = ReadonlyMap<string, readonly string[]>;

export const NO_METADATA: Metadata = new Map();

/** Names that belong to HTTP/2 and gRPC, not to who calls. */
const RESERVED = /^(?::|grpc-|content-type$|te$|user-agent$|date$|host$|connection$|accept-encoding$)/;

/** Metadata as headers to send. Line breaks, which HTTP has no place for, become spaces. */
export function toHeaders(metadata: Metadata): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (const [name, values] of metadata) {
    if (!RESERVED.test(name)) headers[name] = values.map((value) => value.replaceAll(/[\r\n\0]/g, " "));
  }
  return headers;
}

/**
 * The metadata among received headers. `raw` has names and values in turns, each value by itself; without it several
 * values of a name are one, joined by commas.
 */
export function fromHeaders(headers: IncomingHttpHeaders, raw?: readonly string[]): Metadata {
  const found = new Map<string, string[]>();
  const add = (name: string, value: string) => {
    if (RESERVED.test(name)) return;
    const values = found.get(name);
    if (values === undefined) found.set(name, [value]);
    else values.push(value);
  };
  if (raw !== undefined) {
    for (let at = 0; at + 1 < raw.length; at += 2) add(raw[at]!, raw[at + 1]!);
  } else {
    for (const [name, value] of Object.entries(headers)) {
      for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) add(name, one);
    }
  }
  return found;
}

/** The end of a call that its trailers tell; undefined if it is well; `unset` if they don't tell. */
export function statusOf(headers: IncomingHttpHeaders): GrpcError | undefined | "unset" {
  const status = headers["grpc-status"];
  if (status === undefined) return "unset";
  const code = statusCode(Number(status));
  if (code === STATUS.ok) return undefined;
  const message = decodeMessage(String(headers["grpc-message"] ?? ""));
  const packed = headers["grpc-status-details-bin"];
  const detailed = packed === undefined ? undefined : decodeStatus(Buffer.from(String(packed), "base64"));
  return new GrpcError(code, message, { details: detailed?.code === code ? detailed.details : [] });
}

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** `grpc-timeout` in milliseconds; undefined for none, or for what is no time. */
export function readTimeout(value: string | undefined): number | undefined {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(value ?? "") ?? [];
  return digits === undefined ? undefined : Number(digits) * UNITS[unit!]!;
}

/** At most eight digits are allowed, so that long times are written in coarser units. */
export function writeTimeout(milliseconds: number): string {
  const whole = Math.max(1, Math.ceil(milliseconds));
  return whole < 1e8 ? `${whole}m` : `${Math.min(Math.ceil(whole / 1000), 99_999_999)}S`;
}

import { bytesToName, nameToBytes } from "../../base/byte-string.ts";
import { invalidHeader } from "./entry.ts";

const XATTR = "SCHILY.xattr.";

/** What a PAX extended header (POSIX.1-2001, pax, "Extended Header") says; an empty value takes a field back. */
export interface PaxFields {
  path?: string;
  linkpath?: string;
  uname?: string;
  gname?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: { readonly seconds: number; readonly nanoseconds: number };
  xattrs?: Map<string, Uint8Array>;
  sparse?: PaxSparse;
}

/** GNU's three ways to describe sparse files in PAX: 0.0 by repeated keys, 0.1 by one list, 1.0 by a map before the data. */
export interface PaxSparse {
  major?: string;
  minor?: string;
  name?: string;
  size?: number;
  /** Offsets and lengths in turn. */
  numbers: number[];
}

export function parsePax(bytes: Buffer): PaxFields {
  const fields: PaxFields = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const digits = space === -1 || space - at > 7 ? "" : bytes.toString("latin1", at, space);
    const end = at + Number(digits);
    if (!/^[0-9]+$/.test(digits) || end > bytes.length || end <= space + 1 || bytes[end - 1] !== 0x0a)
      throw invalidHeader("extended header");
    const equals = bytes.indexOf(0x3d, space + 1);
    if (equals === -1 || equals >= end || equals === space + 1) throw invalidHeader("extended header");
    take(fields, bytes.toString("utf8", space + 1, equals), bytes.subarray(equals + 1, end - 1));
    at = end;
  }
  return fields;
}

function take(fields: PaxFields, key: string, value: Buffer): void {
  switch (key) {
    case "path":
    case "linkpath":
    case "uname":
    case "gname":
      if (value.includes(0)) throw invalidHeader(key);
      fields[key] = value.length === 0 ? undefined : bytesToName(value);
      return;
    case "size":
    case "uid":
    case "gid":
      fields[key] = value.length === 0 ? undefined : decimal(value.toString("latin1"), key);
      return;
    case "mtime":
      fields.mtime = value.length === 0 ? undefined : time(value.toString("latin1"));
      return;
  }
  if (key.startsWith("GNU.sparse.")) takeSparse(fields, key.slice("GNU.sparse.".length), value);
  else if (key.startsWith(XATTR)) {
    fields.xattrs ??= new Map();
    const name = key.slice(XATTR.length);
    if (name === "" || name.includes("\0")) throw invalidHeader(key);
    fields.xattrs.set(name, Buffer.from(value));
  }
}

function takeSparse(fields: PaxFields, key: string, value: Buffer): void {
  fields.sparse ??= { numbers: [] };
  const sparse = fields.sparse;
  const text = value.toString("latin1");
  switch (key) {
    case "major":
    case "minor":
      sparse[key] = text;
      return;
    case "name":
      if (value.includes(0)) throw invalidHeader(key);
      sparse.name = bytesToName(value);
      return;
    case "size":
    case "realsize":
      sparse.size = decimal(text, key);
      return;
    case "map":
      sparse.numbers = text === "" ? [] : text.split(",").map((number) => decimal(number, key));
      return;
    case "offset":
    case "numbytes":
      if (sparse.numbers.length % 2 !== (key === "offset" ? 0 : 1)) throw invalidHeader("sparse map");
      sparse.numbers.push(decimal(text, key));
  }
}

export function decimal(text: string, field: string): number {
  const value = Number(text);
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(value)) throw invalidHeader(field);
  return value;
}

function time(text: string): { seconds: number; nanoseconds: number } {
  const [, sign, whole, fraction] = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text) ?? [];
  if (whole === undefined) throw invalidHeader("mtime");
  const seconds = Number(whole);
  const nanoseconds = Number((fraction ?? "").slice(0, 9).padEnd(9, "0"));
  if (sign !== "-") return { seconds, nanoseconds };
  return nanoseconds === 0
    ? { seconds: 0 - seconds, nanoseconds: 0 }
    : { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}

export function formatTime(mtime: { readonly seconds: number; readonly nanoseconds: number }): string {
  let { seconds, nanoseconds } = mtime;
  let sign = "";
  if (seconds < 0) {
    sign = "-";
    seconds = nanoseconds === 0 ? -seconds : -seconds - 1;
    nanoseconds = nanoseconds === 0 ? 0 : 1e9 - nanoseconds;
  }
  const fraction = nanoseconds === 0 ? "" : `.${String(nanoseconds).padStart(9, "0").replace(/0+$/, "")}`;
  return `${sign}${seconds}${fraction}`;
}

export function formatPax(records: readonly (readonly [key: string, value: string | Uint8Array])[]): Buffer {
  return Buffer.concat(
    records.map(([key, value]) => {
      const bytes = typeof value === "string" ? nameToBytes(value) : value;
      const rest = Buffer.concat([Buffer.from(` ${key}=`), bytes, Buffer.from("\n")]);
      // The length counts its own digits.
      let length = rest.length + String(rest.length).length;
      length = rest.length + String(length).length;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );
}

export const XATTR_PREFIX = XATTR;

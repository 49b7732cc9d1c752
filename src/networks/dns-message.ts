import { addressBytes } from "../kernel/netlink.ts";

const HEADER = 12;
const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100 } as const;
const RECURSION_AVAILABLE = 0x0080;
const OPCODE = 0x7800;
/** What a client without EDNS takes over UDP (RFC 1035), and the most that this side sends. */
const PLAIN_UDP = 512;
const MAX_UDP = 4096;
/** Docker's is 600: caches inside, nginx's for one, would keep the names of containers that are gone for as long. */
const TTL_S = 1;
/** Of a name as it goes in a message (RFC 1035). */
const LONGEST_NAME = 255;
/** Records of a query that are looked at. */
const MOST_RECORDS = 8;
const OPT = 41;
const INTERNET = 1;
const TYPE_CODE = { A: 1, PTR: 12, AAAA: 28 } as const;
const TYPES: Readonly<Record<number, string>> = { 1: "A", 12: "PTR", 28: "AAAA" };
/** A record's name, type, class, lifetime and length where the name points at the question's. */
const RECORD_HEAD = 12;
const POINTS_AT_QUESTION = 0xc000 | HEADER;
const OPT_RECORD = 11;
/** Of EDNS: a version that this side does not speak (RFC 6891), in the upper bits of the code. */
const BAD_VERSION = 1;
const NAME_ERROR = 3;

export const RCODE = { noError: 0, formatError: 1, serverFailure: 2, notImplemented: 4, refused: 5 } as const;

/** A query of one question, as far as this server has to understand it. */
export interface DnsQuery {
  /** As it came. */
  readonly bytes: Buffer;
  readonly id: number;
  /** As it was asked for, letters' case and all, without a dot at the end. */
  readonly name: string;
  /** `A`, `AAAA`, `PTR`; UNKNOWN_n for what this server knows nothing of. */
  readonly type: string;
  /** The class is the Internet's: of others this server knows nothing. */
  readonly isInternet: boolean;
  /** Where the question ends in `bytes`. */
  readonly end: number;
  /** The largest answer that the client takes over UDP. */
  readonly udpSize: number;
  readonly hasEdns: boolean;
}

export type DnsAnswer =
  | { readonly type: "A" | "AAAA"; readonly addresses: readonly string[] }
  | { readonly type: "PTR"; readonly target: string };

/** Reads a query. Otherwise what to answer instead, or undefined for what deserves no answer. */
export function readQuery(bytes: Buffer): { readonly query: DnsQuery } | { readonly refusal: Buffer } | undefined {
  if (bytes.length < HEADER || (bytes.readUInt16BE(2) & FLAG.response) !== 0) return undefined;
  if ((bytes.readUInt16BE(2) & OPCODE) !== 0) return { refusal: bareReply(bytes, RCODE.notImplemented) };
  const end = questionEnd(bytes);
  if (end === undefined || bytes.readUInt16BE(4) !== 1) return { refusal: bareReply(bytes, RCODE.formatError) };
  const type = bytes.readUInt16BE(end - 4);
  const edns = ednsOf(bytes, end);
  const query: DnsQuery = {
    bytes,
    id: bytes.readUInt16BE(0),
    name: nameAt(bytes, HEADER),
    type: TYPES[type] ?? `UNKNOWN_${type}`,
    isInternet: bytes.readUInt16BE(end - 2) === INTERNET,
    end,
    udpSize: Math.min(MAX_UDP, Math.max(PLAIN_UDP, edns?.size ?? PLAIN_UDP)),
    hasEdns: edns !== undefined,
  };
  return edns === undefined || edns.version === 0 ? { query } : { refusal: badVersion(query) };
}

/** A name that points at nothing before it, as the first of a message can't. A dot in a label is no end of one. */
function nameAt(bytes: Buffer, from: number): string {
  const labels: string[] = [];
  for (let at = from; bytes[at] !== 0; at += bytes[at]! + 1) {
    const label = bytes.toString("utf8", at + 1, at + 1 + bytes[at]!);
    labels.push(label.includes(".") ? label.replaceAll(".", "\\.") : label);
  }
  return labels.join(".");
}

/**
 * The answer's size that a query offers by EDNS (RFC 6891), and its version; undefined without. Looks past a few
 * records that queries don't have, and follows no pointer: what one message costs must not grow with what is in it.
 */
function ednsOf(bytes: Buffer, from: number): { readonly size: number; readonly version: number } | undefined {
  let at = from;
  const records = bytes.readUInt16BE(6) + bytes.readUInt16BE(8) + bytes.readUInt16BE(10);
  for (let left = Math.min(records, MOST_RECORDS); left > 0; left--) {
    const end = nameEnd(bytes, at, "may point");
    if (end === undefined || end + 10 > bytes.length) return undefined;
    if (bytes.readUInt16BE(end) === OPT) return { size: bytes.readUInt16BE(end + 2), version: bytes[end + 5]! };
    at = end + 10 + bytes.readUInt16BE(end + 8);
  }
  return undefined;
}

function nameEnd(bytes: Buffer, from: number, pointer?: "may point"): number | undefined {
  for (let at = from; ; ) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0 && pointer !== undefined) return at + 2;
    if (length > 63 || at - from >= LONGEST_NAME) return undefined;
    at += length + 1;
    if (length === 0) return at;
  }
}

/** The answer to a local name; undefined: the name is there, but nothing of that type. The question is as it came. */
export function writeAnswer(query: DnsQuery, answer: DnsAnswer | undefined, limit: number): Buffer {
  const data = answer === undefined ? [] : dataOf(answer);
  const room = limit - query.end - (query.hasEdns ? OPT_RECORD : 0);
  let size = 0;
  let fitting = 0;
  while (fitting < data.length && size + RECORD_HEAD + data[fitting]!.length <= room) {
    size += RECORD_HEAD + data[fitting++]!.length;
  }
  const reply = replyTo(query, size, fitting < data.length ? FLAG.truncated : 0);
  reply.writeUInt16BE(fitting, 6);
  let at = query.end;
  for (const each of data.slice(0, fitting)) {
    reply.writeUInt16BE(POINTS_AT_QUESTION, at);
    reply.writeUInt16BE(TYPE_CODE[answer!.type], at + 2);
    reply.writeUInt16BE(INTERNET, at + 4);
    reply.writeUInt32BE(TTL_S, at + 6);
    reply.writeUInt16BE(each.length, at + 10);
    reply.set(each, at + RECORD_HEAD);
    at += RECORD_HEAD + each.length;
  }
  return reply;
}

/** Head and question, room for so many bytes of records, and what EDNS wants in the end. */
function replyTo({ bytes, end, hasEdns }: DnsQuery, room: number, flags: number): Buffer {
  const reply = Buffer.allocUnsafe(end + room + (hasEdns ? OPT_RECORD : 0));
  bytes.copy(reply, 0, 0, end);
  const asked = bytes.readUInt16BE(2) & FLAG.recursionDesired;
  reply.writeUInt16BE(FLAG.response | asked | RECURSION_AVAILABLE | flags, 2);
  reply.fill(0, 6, HEADER);
  if (!hasEdns) return reply;
  reply.writeUInt16BE(1, 10);
  const at = reply.length - OPT_RECORD;
  reply.fill(0, at);
  reply.writeUInt16BE(OPT, at + 1);
  reply.writeUInt16BE(MAX_UDP, at + 3);
  return reply;
}

function badVersion(query: DnsQuery): Buffer {
  const reply = replyTo(query, 0, 0);
  reply[reply.length - OPT_RECORD + 5] = BAD_VERSION;
  return reply;
}

function dataOf(answer: DnsAnswer): Uint8Array[] {
  return answer.type === "PTR" ? [nameBytes(answer.target)] : answer.addresses.map(addressBytes);
}

function nameBytes(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.from(label));
  return Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)]);
}

/** An answer without records to a query: the question as it came and a code. */
export function writeFailure(bytes: Buffer, code: number): Buffer {
  return bareReply(bytes, code);
}

function bareReply(bytes: Buffer, code: number): Buffer {
  const end = questionEnd(bytes);
  const reply = Buffer.alloc(end ?? HEADER);
  bytes.copy(reply, 0, 0, reply.length);
  const asked = bytes.readUInt16BE(2) & (OPCODE | FLAG.recursionDesired);
  reply.writeUInt16BE(FLAG.response | asked | RECURSION_AVAILABLE | code, 2);
  reply.writeUInt16BE(end === undefined ? 0 : 1, 4);
  reply.fill(0, 6, HEADER);
  return reply;
}

/** Where the first question ends; undefined if there is none that can be read. */
function questionEnd(bytes: Buffer): number | undefined {
  if (bytes.readUInt16BE(4) === 0) return undefined;
  const end = nameEnd(bytes, HEADER);
  if (end === undefined) return undefined;
  return end + 4 <= bytes.length ? end + 4 : undefined;
}

export function codeOf(reply: Buffer): number {
  return reply.readUInt16BE(2) & 0xf;
}

/** True if an answer says what the name stands for, or that it does not fit. */
export function hasRecords(reply: Buffer): boolean {
  return reply.readUInt16BE(6) > 0 || (reply.readUInt16BE(2) & FLAG.truncated) !== 0;
}

/**
 * True if it is an answer to just this query, whose id and question are compared: whoever makes answers up has to know
 * both. Servers that could not read the question may leave it out.
 */
export function isReplyTo(reply: Buffer, query: Buffer): boolean {
  if (reply.length < HEADER || reply.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  const flags = reply.readUInt16BE(2);
  if ((flags & FLAG.response) === 0 || (flags & OPCODE) !== 0) return false;
  if (reply.readUInt16BE(4) === 0) return codeOf(reply) !== RCODE.noError && codeOf(reply) !== NAME_ERROR;
  const end = questionEnd(query);
  if (end === undefined || reply.readUInt16BE(4) !== 1 || reply.length < end) return false;
  return sameQuestion(reply, query, end);
}

/** Letters count the same in both cases, but for type and class at the end. */
function sameQuestion(a: Buffer, b: Buffer, end: number): boolean {
  if (a.compare(b, end - 4, end, end - 4, end) !== 0) return false;
  const nameOf = (message: Buffer) => message.toString("latin1", HEADER, end - 4);
  return nameOf(a) === nameOf(b) || lower(nameOf(a)) === lower(nameOf(b));
}

function lower(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Of an answer that is larger than its asker takes: its head and question, and the word to ask over TCP. */
export function cutTo(reply: Buffer, limit: number): Buffer {
  if (reply.length <= limit) return reply;
  const end = questionEnd(reply) ?? HEADER;
  const cut = Buffer.from(reply.subarray(0, end));
  cut.writeUInt16BE(cut.readUInt16BE(2) | FLAG.truncated, 2);
  cut.writeUInt16BE(end === HEADER ? 0 : 1, 4);
  cut.fill(0, 6, HEADER);
  return cut;
}

/** The address that a name of the reverse tree stands for; undefined for all other names. */
export function reverseAddress(name: string): string | undefined {
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/i.exec(name);
  if (four !== null) return four.slice(1, 5).reverse().map(Number).join(".");
  if (!/^([0-9a-f]\.){32}ip6\.arpa$/i.test(name)) return undefined;
  const digits = name.slice(0, 63).split(".").reverse().join("");
  return digits.replace(/(....)(?=.)/g, "$1:").toLowerCase();
}

/** True if each part of the name fits into the message. */
export function fits(name: string): boolean {
  return name.length < 250 && name.split(".").every((label) => label !== "" && Buffer.byteLength(label) <= 63);
}

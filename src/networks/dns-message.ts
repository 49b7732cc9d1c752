import packet from "dns-packet";

const HEADER = 12;
const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100 } as const;
const RECURSION_AVAILABLE = 0x0080;
const OPCODE = 0x7800;
/** What a client without EDNS takes over UDP (RFC 1035), and the most that this side sends. */
const PLAIN_UDP = 512;
const MAX_UDP = 4096;
const TTL_S = 600;
/** Of a name as it goes in a message (RFC 1035). */
const LONGEST_NAME = 255;
/** Records of a query that are looked at. */
const MOST_RECORDS = 8;
const OPT = 41;
const TYPES: Readonly<Record<number, string>> = { 1: "A", 12: "PTR", 28: "AAAA" };

export const RCODE = { noError: 0, formatError: 1, serverFailure: 2, notImplemented: 4, refused: 5 } as const;

/** A query of one question, as far as this server has to understand it. */
export interface DnsQuery {
  /** As it came. */
  readonly bytes: Buffer;
  readonly id: number;
  /** As it was asked for, letters' case and all, without a dot at the end. */
  readonly name: string;
  /** `A`, `AAAA`, `PTR` …; UNKNOWN_n for what has no name. */
  readonly type: string;
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
  const offered = ednsSize(bytes, end);
  return {
    query: {
      bytes,
      id: bytes.readUInt16BE(0),
      name: nameAt(bytes, HEADER),
      type: TYPES[type] ?? `UNKNOWN_${type}`,
      udpSize: Math.min(MAX_UDP, Math.max(PLAIN_UDP, offered ?? PLAIN_UDP)),
      hasEdns: offered !== undefined,
    },
  };
}

/** A name that points at nothing before it, as the first of a message can't. */
function nameAt(bytes: Buffer, from: number): string {
  const labels: string[] = [];
  for (let at = from; bytes[at] !== 0; at += bytes[at]! + 1)
    labels.push(bytes.toString("utf8", at + 1, at + 1 + bytes[at]!));
  return labels.join(".");
}

/**
 * The answer's size that a query offers by EDNS (RFC 6891), undefined without. Looks past a few records that queries
 * don't have, and follows no pointer: what one message costs must not grow with what is in it.
 */
function ednsSize(bytes: Buffer, from: number): number | undefined {
  let at = from;
  const records = bytes.readUInt16BE(6) + bytes.readUInt16BE(8) + bytes.readUInt16BE(10);
  for (let left = Math.min(records, MOST_RECORDS); left > 0; left--) {
    const end = nameEnd(bytes, at, "may point");
    if (end === undefined || end + 10 > bytes.length) return undefined;
    if (bytes.readUInt16BE(end) === OPT) return bytes.readUInt16BE(end + 2);
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

/** The answer to a local name; undefined addresses or none: the name is there, but nothing of that type. */
export function writeAnswer(query: DnsQuery, answer: DnsAnswer | undefined, limit: number): Buffer {
  const records = recordsOf(query.name, answer);
  const flags = RECURSION_AVAILABLE | (query.bytes.readUInt16BE(2) & FLAG.recursionDesired);
  const encode = (answers: packet.Answer[], more: number) =>
    packet.encode({
      id: query.id,
      type: "response",
      flags: flags | more,
      questions: [{ name: query.name === "" ? "." : query.name, type: query.type as packet.RecordType, class: "IN" }],
      answers,
      additionals: query.hasEdns ? [EDNS] : [],
    });
  const whole = encode(records, 0);
  if (whole.length <= limit) return whole;
  const each = (whole.length - encode([], 0).length) / records.length;
  const fitting = Math.max(0, Math.floor((limit - encode([], 0).length) / each));
  return encode(records.slice(0, fitting), FLAG.truncated);
}

const EDNS: packet.Answer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: MAX_UDP,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
} as packet.OptAnswer;

function recordsOf(name: string, answer: DnsAnswer | undefined): packet.Answer[] {
  if (answer === undefined) return [];
  if (answer.type === "PTR") return [{ type: "PTR", name, ttl: TTL_S, data: answer.target }];
  return answer.addresses.map((data) => ({ type: answer.type, name, ttl: TTL_S, data }));
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

/** True if it is the answer to a question like this one, sent with this id. */
export function isReplyTo(reply: Buffer, id: number): boolean {
  return reply.length >= HEADER && reply.readUInt16BE(0) === id && (reply.readUInt16BE(2) & FLAG.response) !== 0;
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

import { hasCode } from "../base/errors.ts";
import { addressBytes } from "./netlink/address.ts";
import {
  type Attribute,
  bytes,
  decodeAttributes,
  encodeMessage,
  NLM_F,
  nest,
  nested,
  u8,
  u32,
} from "./netlink/message.ts";
import { NetlinkSocket, PROTOCOL } from "./netlink/socket.ts";

const CTNETLINK = 1 << 8;
const GET = CTNETLINK | 1;
const DELETE = CTNETLINK | 2;
const CTA = { original: 1, reply: 2, status: 3, id: 12, filter: 25, statusMask: 26 } as const;
/** Of enum ip_conntrack_status. */
const SEEN_REPLY = 1 << 1;
const DST_NAT = 1 << 5;
const TUPLE = { ip: 1, protocol: 2 } as const;
const SOURCE = { 4: 1, 16: 3 } as const;
const PROTOCOL_NUMBER = 1;
const FILTER_REPLY = 2;
/** IP source and protocol number, of enum ctnetlink_filter. */
const BY_SOURCE_AND_PROTOCOL = (1 << 0) | (1 << 3);
const TCP = 6;
const UDP = 17;
const NONE = Buffer.alloc(0);
/** nfgenmsg: AF_INET or AF_INET6, version 0. */
const HEAD = { 4: Buffer.from([2, 0, 0, 0]), 16: Buffer.from([10, 0, 0, 0]) } as const;

/**
 * Makes the kernel forget the UDP flows that were led to an address, so that a client that keeps its port is led
 * anew. Belongs to the network namespace the thread is in. A kernel without ctnetlink has nothing done.
 */
export function forgetUdpFlows(address: string): void {
  const source = addressBytes(address);
  const isLedThere = (flow: Flow) => flow.protocol === UDP && flow.answeredBy.equals(source);
  forgetFlows(sizeOf(source), filterOf(source), isLedThere);
}

/**
 * The ids of flows of all protocols but TCP that were led to one of these addresses, of either family, and that nobody
 * there has answered yet.
 */
export function unansweredFlows(addresses: Iterable<string>): Set<string> {
  const ids = new Set<string>();
  eachUnanswered(addresses, ({ id }) => {
    ids.add(id);
    return false;
  });
  return ids;
}

/** Makes the kernel forget those of `ids` that nobody has answered still. */
export function forgetUnanswered(addresses: Iterable<string>, ids: ReadonlySet<string>): void {
  eachUnanswered(addresses, ({ id }) => ids.has(id));
}

function eachUnanswered(addresses: Iterable<string>, isForgotten: (flow: Flow) => boolean): void {
  const sources = new Set(Array.from(addresses, (address) => addressBytes(address).toString("hex")));
  const isLed = ({ status, protocol, answeredBy }: Flow) =>
    (status & (SEEN_REPLY | DST_NAT)) === DST_NAT && protocol !== TCP && sources.has(answeredBy.toString("hex"));
  const filter = [u32be(CTA.status, DST_NAT), u32be(CTA.statusMask, SEEN_REPLY | DST_NAT)];
  for (const size of [4, 16] as const) forgetFlows(size, filter, (flow) => isLed(flow) && isForgotten(flow));
}

interface Flow {
  /** The kernel's own, in hexadecimal digits; "" of a kernel that tells none. */
  readonly id: string;
  readonly status: number;
  readonly protocol: number;
  /** Who answers, or would. */
  readonly answeredBy: Buffer;
}

/** A kernel before 5.8 doesn't filter, so that each flow is looked at again. */
function forgetFlows(size: 4 | 16, filter: readonly Attribute[], isMeant: (flow: Flow) => boolean): void {
  const head = HEAD[size];
  let socket: NetlinkSocket;
  try {
    socket = new NetlinkSocket(PROTOCOL.netfilter);
  } catch (error) {
    if (hasCode(error, "EPROTONOSUPPORT")) return;
    throw error;
  }
  try {
    for (const { body } of socket.dump("list flows", GET, head, filter)) {
      const flow = decodeAttributes(body, head.length);
      const reply = decodeAttributes(flow.get(CTA.reply) ?? NONE);
      const answeredBy = decodeAttributes(reply.get(TUPLE.ip) ?? NONE).get(SOURCE[size]);
      const protocol = decodeAttributes(reply.get(TUPLE.protocol) ?? NONE).get(PROTOCOL_NUMBER)?.[0];
      const original = flow.get(CTA.original);
      if (answeredBy === undefined || protocol === undefined || original === undefined) continue;
      const id = flow.get(CTA.id);
      const status = flow.get(CTA.status)?.readUInt32BE(0) ?? 0;
      if (!isMeant({ id: id?.toString("hex") ?? "", status, protocol, answeredBy })) continue;
      const attributes = [nested(CTA.original, original), ...(id === undefined ? [] : [bytes(CTA.id, id)])];
      forget(socket, encodeMessage(DELETE, NLM_F.request | NLM_F.ack, head, attributes));
    }
  } catch (error) {
    if (!hasCode(error, "EOPNOTSUPP", "EINVAL")) throw error;
  } finally {
    socket.close();
  }
}

function u32be(type: number, value: number): Attribute {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return bytes(type, buffer);
}

function forget(socket: NetlinkSocket, message: Buffer): void {
  try {
    socket.execute([{ what: "forget a flow", message }]);
  } catch (error) {
    // It ended by itself meanwhile.
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

function filterOf(source: Buffer) {
  return [
    nest(CTA.reply, [
      nest(TUPLE.ip, [bytes(SOURCE[sizeOf(source)], source)]),
      nest(TUPLE.protocol, [u8(PROTOCOL_NUMBER, UDP)]),
    ]),
    nest(CTA.filter, [u32(1, 0), u32(FILTER_REPLY, BY_SOURCE_AND_PROTOCOL)]),
  ];
}

function sizeOf(address: Buffer): 4 | 16 {
  return address.length === 4 ? 4 : 16;
}

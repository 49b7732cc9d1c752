import { hasCode } from "../base/errors.ts";
import { addressBytes } from "./netlink/address.ts";
import { bytes, decodeAttributes, encodeMessage, NLM_F, nest, nested, u8, u32 } from "./netlink/message.ts";
import { NetlinkSocket, PROTOCOL } from "./netlink/socket.ts";

const CTNETLINK = 1 << 8;
const GET = CTNETLINK | 1;
const DELETE = CTNETLINK | 2;
const CTA = { original: 1, reply: 2, id: 12, filter: 25 } as const;
const TUPLE = { ip: 1, protocol: 2 } as const;
const SOURCE = { 4: 1, 16: 3 } as const;
const PROTOCOL_NUMBER = 1;
const FILTER_REPLY = 2;
/** IP source and protocol number, of enum ctnetlink_filter. */
const BY_SOURCE_AND_PROTOCOL = (1 << 0) | (1 << 3);
const UDP = 17;
/** nfgenmsg: AF_INET or AF_INET6, version 0. */
const HEAD = { 4: Buffer.from([2, 0, 0, 0]), 16: Buffer.from([10, 0, 0, 0]) } as const;

/**
 * Makes the kernel forget the UDP flows that were led to an address, so that a client that keeps its port is led
 * anew. Belongs to the network namespace the thread is in. A kernel without ctnetlink has nothing done.
 */
export function forgetUdpFlows(address: string): void {
  const source = addressBytes(address);
  const head = HEAD[sizeOf(source)];
  let socket: NetlinkSocket;
  try {
    socket = new NetlinkSocket(PROTOCOL.netfilter);
  } catch (error) {
    if (hasCode(error, "EPROTONOSUPPORT")) return;
    throw error;
  }
  try {
    for (const { body } of socket.dump("list flows", GET, head, filterOf(source))) {
      // A kernel before 5.8 doesn't filter.
      const flow = decodeAttributes(body, head.length);
      const reply = decodeAttributes(flow.get(CTA.reply) ?? Buffer.alloc(0));
      const from = decodeAttributes(reply.get(TUPLE.ip) ?? Buffer.alloc(0)).get(SOURCE[sizeOf(source)]);
      const protocol = decodeAttributes(reply.get(TUPLE.protocol) ?? Buffer.alloc(0)).get(PROTOCOL_NUMBER);
      const original = flow.get(CTA.original);
      if (from?.equals(source) !== true || protocol?.[0] !== UDP || original === undefined) continue;
      const id = flow.get(CTA.id);
      const attributes = [nested(CTA.original, original), ...(id === undefined ? [] : [bytes(CTA.id, id)])];
      forget(socket, encodeMessage(DELETE, NLM_F.request | NLM_F.ack, head, attributes));
    }
  } catch (error) {
    if (!hasCode(error, "EOPNOTSUPP", "EINVAL")) throw error;
  } finally {
    socket.close();
  }
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

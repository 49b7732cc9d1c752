import { addressBytes, addressText, macBytes, macText } from "./address.ts";
import { bytes, decodeAttributes, encodeMessage, type Message, NLM_F, u32 } from "./message.ts";
import type { Request } from "./socket.ts";

const RTM = {
  newAddress: 20,
  delAddress: 21,
  getAddress: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  getNeighbour: 30,
} as const;
const IFA = { address: 1, local: 2, broadcast: 4, flags: 8 } as const;
const IFA_F_NODAD = 2;
const RTA = { destination: 1, outLink: 4, gateway: 5, priority: 6, table: 15 } as const;
const NDA = { destination: 1, mac: 2 } as const;
const NUD_PERMANENT = 0x80;
const TABLE_MAIN = 254;
const PROTOCOL_STATIC = 4;
const SCOPE = { universe: 0, link: 253 } as const;
const UNICAST = 1;
/** Of the types of routes, those that say where the host itself is: its addresses, and what it sends to all. */
const OWN = new Set([2, 3, 4, 5]);
const FAMILY = { v4: 2, v6: 10 } as const;
const ACKED = NLM_F.request | NLM_F.ack;
const NEW = ACKED | NLM_F.create | NLM_F.excl;

export interface InterfaceAddress {
  readonly index: number;
  readonly address: string;
  readonly prefix: number;
}

export interface Route {
  /** CIDR; "default" for 0.0.0.0/0 and ::/0. */
  readonly destination: string;
  readonly family: 4 | 6;
  readonly gateway: string | undefined;
  /** Index of the link; 0 for several or none. */
  readonly index: number;
  readonly table: number;
}

export interface NewRoute {
  /** CIDR or "default". */
  readonly destination: string;
  readonly gateway?: string;
  /** Index of the link. */
  readonly index?: number;
  /** Of a default route without a gateway, where it is not 4. */
  readonly family?: 4 | 6;
}

export interface Neighbour {
  readonly index: number;
  readonly address: string;
  readonly mac: string;
}

export const GET_ADDRESS = RTM.getAddress;
export const DUMP_ROUTES = { type: RTM.getRoute, head: Buffer.alloc(12) } as const;
export const DUMP_NEIGHBOURS = { type: RTM.getNeighbour, head: Buffer.alloc(12) } as const;

export function addAddressRequest({ index, address, prefix }: InterfaceAddress): Request {
  const raw = addressBytes(address);
  const attributes = [bytes(IFA.local, raw), bytes(IFA.address, raw)];
  if (raw.length === 4 && prefix < 31) attributes.push(bytes(IFA.broadcast, broadcastOf(raw, prefix)));
  // The address is ours by bookkeeping: without this a v6 address can't be used for a second.
  if (raw.length === 16) attributes.push(u32(IFA.flags, IFA_F_NODAD));
  const head = addressHead(raw, prefix, index);
  return { what: `add address ${address}/${prefix}`, message: encodeMessage(RTM.newAddress, NEW, head, attributes) };
}

export function deleteAddressRequest({ index, address, prefix }: InterfaceAddress): Request {
  const raw = addressBytes(address);
  const attributes = [bytes(IFA.local, raw)];
  const head = addressHead(raw, prefix, index);
  return {
    what: `delete address ${address}/${prefix}`,
    message: encodeMessage(RTM.delAddress, ACKED, head, attributes),
  };
}

export function addRouteRequest(route: NewRoute): Request {
  return routeRequest("add", RTM.newRoute, NEW, route);
}

/** In place of the one that has the same destination, if there is one. */
export function replaceRouteRequest(route: NewRoute): Request {
  return routeRequest("replace", RTM.newRoute, ACKED | NLM_F.create | NLM_F.replace, route);
}

export function deleteRouteRequest(route: NewRoute): Request {
  return routeRequest("delete", RTM.delRoute, ACKED, route);
}

export function addNeighbourRequest({ index, address, mac }: Neighbour): Request {
  const raw = addressBytes(address);
  const head = Buffer.alloc(12);
  head[0] = familyOf(raw);
  head.writeInt32LE(index, 4);
  head.writeUInt16LE(NUD_PERMANENT, 8);
  const attributes = [bytes(NDA.destination, raw), bytes(NDA.mac, macBytes(mac))];
  return { what: `add neighbour ${address}`, message: encodeMessage(RTM.newNeighbour, NEW, head, attributes) };
}

/** What a list of addresses is asked for with: all, or those of one link. */
export function addressesHead(index: number): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(index, 4);
  return head;
}

export function decodeAddress({ body }: Message): InterfaceAddress | undefined {
  const attributes = decodeAttributes(body, 8);
  // On a point-to-point link "address" is the other end's; "local" is always ours, where it is given.
  const raw = attributes.get(IFA.local) ?? attributes.get(IFA.address);
  if (raw === undefined) return undefined;
  return { index: body.readUInt32LE(4), address: addressText(raw), prefix: body[1] ?? 0 };
}

export function decodeRoute({ body }: Message): Route | undefined {
  const family = body[0] === FAMILY.v4 ? 4 : body[0] === FAMILY.v6 ? 6 : undefined;
  if (family === undefined) return undefined;
  const attributes = decodeAttributes(body, 12);
  const destination = attributes.get(RTA.destination);
  const gateway = attributes.get(RTA.gateway);
  return {
    destination: destination === undefined ? "default" : `${addressText(destination)}/${body[1]}`,
    family,
    gateway: gateway === undefined ? undefined : addressText(gateway),
    index: attributes.get(RTA.outLink)?.readInt32LE(0) ?? 0,
    table: attributes.get(RTA.table)?.readUInt32LE(0) ?? body[4] ?? 0,
  };
}

/** Undefined for a message that is of no address. */
export function linkOfAddress({ type, body }: Message): number | undefined {
  return type === RTM.newAddress || type === RTM.delAddress ? body.readUInt32LE(4) : undefined;
}

/** 0 for a route by several links, or none. */
export function linkOfRoute({ body }: Message): number {
  return decodeAttributes(body, 12).get(RTA.outLink)?.readInt32LE(0) ?? 0;
}

/** True for a route to somewhere, be it nowhere; the host's own addresses have routes of other types. */
export function leadsAway({ body }: Message): boolean {
  return !OWN.has(body[7] ?? 0);
}

export function decodeNeighbour({ body }: Message): Neighbour | undefined {
  const attributes = decodeAttributes(body, 12);
  const address = attributes.get(NDA.destination);
  if (address === undefined || (address.length !== 4 && address.length !== 16)) return undefined;
  return { index: body.readInt32LE(4), address: addressText(address), mac: macText(attributes.get(NDA.mac)) };
}

function routeRequest(verb: string, type: number, flags: number, route: NewRoute): Request {
  const gateway = route.gateway === undefined ? undefined : addressBytes(route.gateway);
  const [network = "", prefix = ""] = route.destination === "default" ? [] : route.destination.split("/");
  const destination = network === "" ? undefined : addressBytes(network);
  const head = Buffer.alloc(12);
  head[0] = familyOf(destination ?? gateway ?? Buffer.alloc(4));
  head[1] = destination === undefined ? 0 : prefix === "" ? destination.length * 8 : Number(prefix);
  head[4] = TABLE_MAIN;
  head[5] = PROTOCOL_STATIC;
  head[6] = gateway === undefined ? SCOPE.link : SCOPE.universe;
  head[7] = UNICAST;
  const attributes = [];
  if (destination !== undefined) attributes.push(bytes(RTA.destination, destination));
  if (gateway !== undefined) attributes.push(bytes(RTA.gateway, gateway));
  if (route.index !== undefined) attributes.push(u32(RTA.outLink, route.index));
  if (route.family === 6) head[0] = FAMILY.v6;
  return { what: `${verb} route ${route.destination}`, message: encodeMessage(type, flags, head, attributes) };
}

function addressHead(raw: Buffer, prefix: number, index: number): Buffer {
  const head = Buffer.alloc(8);
  head[0] = familyOf(raw);
  head[1] = prefix;
  head.writeUInt32LE(index, 4);
  return head;
}

function familyOf(raw: Buffer): number {
  return raw.length === 4 ? FAMILY.v4 : FAMILY.v6;
}

function broadcastOf(raw: Buffer, prefix: number): Buffer {
  const result = Buffer.alloc(4);
  result.writeUInt32BE((raw.readUInt32BE(0) | (0xffffffff >>> prefix)) >>> 0);
  return result;
}

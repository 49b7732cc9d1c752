import { macBytes, macText } from "./address.ts";
import {
  type Attribute,
  bytes,
  decodeAttributes,
  encodeMessage,
  type Message,
  NLM_F,
  nest,
  readText,
  text,
  u8,
  u16,
  u32,
} from "./message.ts";
import type { Request } from "./socket.ts";

const RTM = { newLink: 16, delLink: 17, getLink: 18 } as const;
const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  link: 5,
  master: 10,
  info: 18,
  alias: 20,
  group: 27,
  netnsFd: 28,
  linkNetns: 37,
} as const;
const INFO = { kind: 1, data: 2, portKind: 4, portData: 5 } as const;
const VETH_PEER = 1;
const BRIDGE_FORWARD_DELAY = 1;
const PORT = { hairpin: 4, isolated: 33 } as const;
const VLAN_ID = 1;
const MACVLAN_MODE = { attribute: 1, private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
const IPVLAN_MODE = { attribute: 1, l2: 0, l3: 1, l3s: 2 } as const;
const IPVLAN_FLAG = { attribute: 2, bridge: 0, private: 1, vepa: 2 } as const;
const IFF_UP = 1;
const ACKED = NLM_F.request | NLM_F.ack;
const NEW = ACKED | NLM_F.create | NLM_F.excl;

export interface Link {
  readonly index: number;
  readonly name: string;
  /** "bridge", "veth" …; empty for hardware and loopback. */
  readonly kind: string;
  readonly up: boolean;
  readonly mtu: number;
  readonly mac: string;
  /** Index of the bridge it is a port of, 0 for none. */
  readonly master: number;
  /** Index of the link that it lies on, as macvlan and VLAN do; 0 for none. */
  readonly parent: number;
  /** The parent is in another network namespace. */
  readonly parentIsElsewhere: boolean;
  /** The number that `ip link set group` writes, 0 by itself; a link may have one from its first instant on. */
  readonly group: number;
  /** The free text that `ip link set alias` writes. */
  readonly alias: string;
}

export interface BridgeOptions {
  readonly mac?: string;
  readonly mtu?: number;
}

export interface VethOptions {
  readonly name: string;
  readonly mtu?: number;
  /** Index of the bridge that the near end becomes a port of. The near end is up from the start. */
  readonly master?: number;
  /** Settings of that port. */
  readonly port?: BridgePortOptions;
  readonly peer: { readonly name: string; readonly mac?: string; readonly netnsFd?: number };
}

/** A link that shares its parent's wire: born in its target namespace, down. */
export interface SharingOptions {
  readonly name: string;
  /** Index of the parent in the namespace that is asked. */
  readonly parent: number;
  readonly netnsFd: number;
  readonly group: number;
  readonly mtu?: number;
  readonly mac?: string;
  readonly kind: MacvlanKind | IpvlanKind;
}

export interface VlanOptions {
  /** Index of the link that carries it. */
  readonly parent: number;
  readonly id: number;
  readonly group: number;
}

export interface MacvlanKind {
  readonly kind: "macvlan";
  readonly mode: "private" | "vepa" | "bridge" | "passthru";
}

export interface IpvlanKind {
  readonly kind: "ipvlan";
  readonly mode: "l2" | "l3" | "l3s";
  readonly flag: "bridge" | "private" | "vepa";
}

export interface BridgePortOptions {
  /** Frames may go back to where they came from. */
  readonly hairpin?: boolean;
  /** It reaches the bridge, but no other isolated port. */
  readonly isolated?: boolean;
}

export interface LinkChange {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  readonly master?: number;
  readonly group?: number;
  readonly alias?: string;
}

export const DUMP_LINKS = { type: RTM.getLink, head: linkHead() } as const;

export function createBridgeRequest(name: string, options: BridgeOptions): Request {
  const data = nest(INFO.data, [u32(BRIDGE_FORWARD_DELAY, 0)]);
  const attributes = [text(IFLA.name, name), nest(IFLA.info, [text(INFO.kind, "bridge"), data])];
  if (options.mac !== undefined) attributes.push(bytes(IFLA.address, macBytes(options.mac)));
  if (options.mtu !== undefined) attributes.push(u32(IFLA.mtu, options.mtu));
  return request(`create bridge ${name}`, RTM.newLink, NEW, linkHead(), attributes);
}

export function createVethRequest(options: VethOptions): Request {
  const peer = [text(IFLA.name, options.peer.name)];
  if (options.peer.mac !== undefined) peer.push(bytes(IFLA.address, macBytes(options.peer.mac)));
  if (options.peer.netnsFd !== undefined) peer.push(u32(IFLA.netnsFd, options.peer.netnsFd));
  const attributes = [text(IFLA.name, options.name)];
  if (options.mtu !== undefined) {
    attributes.push(u32(IFLA.mtu, options.mtu));
    peer.push(u32(IFLA.mtu, options.mtu));
  }
  if (options.master !== undefined) attributes.push(u32(IFLA.master, options.master));
  const data = nest(INFO.data, [nest(VETH_PEER, peer, linkHead())]);
  attributes.push(nest(IFLA.info, [text(INFO.kind, "veth"), data]));
  const head = linkHead({ flags: IFF_UP, change: IFF_UP });
  return request(`create veth ${options.name}`, RTM.newLink, NEW, head, attributes);
}

export function createSharingRequest(options: SharingOptions): Request {
  const { kind } = options;
  const data =
    kind.kind === "macvlan"
      ? [u32(MACVLAN_MODE.attribute, MACVLAN_MODE[kind.mode])]
      : [u16(IPVLAN_MODE.attribute, IPVLAN_MODE[kind.mode]), u16(IPVLAN_FLAG.attribute, IPVLAN_FLAG[kind.flag])];
  const attributes = [
    text(IFLA.name, options.name),
    u32(IFLA.link, options.parent),
    u32(IFLA.netnsFd, options.netnsFd),
    u32(IFLA.group, options.group),
    nest(IFLA.info, [text(INFO.kind, kind.kind), nest(INFO.data, data)]),
  ];
  if (options.mtu !== undefined) attributes.push(u32(IFLA.mtu, options.mtu));
  if (options.mac !== undefined) attributes.push(bytes(IFLA.address, macBytes(options.mac)));
  return request(`create ${kind.kind} ${options.name}`, RTM.newLink, NEW, linkHead(), attributes);
}

/** A sub-interface for one VLAN of its parent. */
export function createVlanRequest(name: string, options: VlanOptions): Request {
  const info = [text(INFO.kind, "vlan"), nest(INFO.data, [u16(VLAN_ID, options.id)])];
  const own = [text(IFLA.name, name), u32(IFLA.link, options.parent), u32(IFLA.group, options.group)];
  return request(`create VLAN ${name}`, RTM.newLink, NEW, linkHead(), [...own, nest(IFLA.info, info)]);
}

export function createDummyRequest(name: string, group: number): Request {
  const info = nest(IFLA.info, [text(INFO.kind, "dummy")]);
  const attributes = [text(IFLA.name, name), u32(IFLA.group, group), info];
  return request(`create dummy ${name}`, RTM.newLink, NEW, linkHead(), attributes);
}

/** One that must be refused: EOPNOTSUPP for a kind that the kernel has not, EINVAL for the parent that is missing. */
export function createOrphanRequest(kind: string): Request {
  const info = nest(IFLA.info, [text(INFO.kind, kind)]);
  return request(`create ${kind}`, RTM.newLink, NEW, linkHead(), [info]);
}

/** Asks for one link; ENODEV if there is none. */
export function getLinkRequest(name: string): Request {
  return request(`look up link ${name}`, RTM.getLink, NLM_F.request, linkHead(), [text(IFLA.name, name)]);
}

export function changeLinkRequest(target: string | number, change: LinkChange): Request {
  const attributes: Attribute[] = typeof target === "string" ? [text(IFLA.name, target)] : [];
  if (change.mtu !== undefined) attributes.push(u32(IFLA.mtu, change.mtu));
  if (change.mac !== undefined) attributes.push(bytes(IFLA.address, macBytes(change.mac)));
  if (change.master !== undefined) attributes.push(u32(IFLA.master, change.master));
  if (change.group !== undefined) attributes.push(u32(IFLA.group, change.group));
  if (change.alias !== undefined) attributes.push(text(IFLA.alias, change.alias));
  const head = linkHead({
    index: typeof target === "number" ? target : 0,
    flags: change.up === true ? IFF_UP : 0,
    change: change.up === undefined ? 0 : IFF_UP,
  });
  // NEWLINK without "create" changes; unlike SETLINK it looks a link up by its name in every kernel.
  return request(`change link ${target}`, RTM.newLink, ACKED, head, attributes);
}

export function bridgePortRequest(target: string, options: BridgePortOptions): Request {
  const settings = [];
  if (options.hairpin !== undefined) settings.push(u8(PORT.hairpin, options.hairpin ? 1 : 0));
  if (options.isolated !== undefined) settings.push(u8(PORT.isolated, options.isolated ? 1 : 0));
  const info = [text(INFO.portKind, "bridge"), nest(INFO.portData, settings)];
  const attributes = [text(IFLA.name, target), nest(IFLA.info, info)];
  return request(`set the bridge port ${target}`, RTM.newLink, ACKED, linkHead(), attributes);
}

export function deleteLinkRequest(target: string | number): Request {
  const attributes = typeof target === "string" ? [text(IFLA.name, target)] : [];
  const head = linkHead({ index: typeof target === "number" ? target : 0 });
  return request(`delete link ${target}`, RTM.delLink, ACKED, head, attributes);
}

/** The link that a message says is gone. A bridge's word of a port that left it (AF_BRIDGE) is no such. */
export function goneLink(message: Message): Link | undefined {
  return message.type === RTM.delLink && message.body[0] === 0 ? decodeLink(message) : undefined;
}

export function decodeLink({ body }: Message): Link {
  const attributes = decodeAttributes(body, 16);
  const info = decodeAttributes(attributes.get(IFLA.info) ?? Buffer.alloc(0));
  return {
    index: body.readInt32LE(4),
    name: readText(attributes.get(IFLA.name)),
    kind: readText(info.get(INFO.kind)),
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    mtu: attributes.get(IFLA.mtu)?.readUInt32LE(0) ?? 0,
    mac: macText(attributes.get(IFLA.address)),
    master: attributes.get(IFLA.master)?.readUInt32LE(0) ?? 0,
    parent: attributes.get(IFLA.link)?.readUInt32LE(0) ?? 0,
    parentIsElsewhere: attributes.has(IFLA.linkNetns),
    group: attributes.get(IFLA.group)?.readUInt32LE(0) ?? 0,
    alias: readText(attributes.get(IFLA.alias)),
  };
}

function linkHead(of: { index?: number; flags?: number; change?: number } = {}): Buffer {
  const head = Buffer.alloc(16);
  head.writeInt32LE(of.index ?? 0, 4);
  head.writeUInt32LE(of.flags ?? 0, 8);
  head.writeUInt32LE(of.change ?? 0, 12);
  return head;
}

function request(what: string, type: number, flags: number, head: Buffer, attributes: readonly Attribute[]): Request {
  return { what, message: encodeMessage(type, flags, head, attributes) };
}

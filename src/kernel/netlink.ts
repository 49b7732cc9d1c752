import { hasCode } from "../base/errors.ts";
import { addressBytes, addressText } from "./netlink/address.ts";
import { AddressChanges } from "./netlink/changes.ts";
import { Departure } from "./netlink/departure.ts";
import {
  type BridgeOptions,
  type BridgePortOptions,
  bridgePortRequest,
  changeLinkRequest,
  createBridgeRequest,
  createDummyRequest,
  createOrphanRequest,
  createSharingRequest,
  createVethRequest,
  createVlanRequest,
  DUMP_LINKS,
  decodeLink,
  deleteLinkRequest,
  getLinkRequest,
  type IpvlanKind,
  type Link,
  type LinkChange,
  type MacvlanKind,
  type SharingOptions,
  type VethOptions,
  type VlanOptions,
} from "./netlink/link.ts";
import {
  addAddressRequest,
  addNeighbourRequest,
  addRouteRequest,
  addressesHead,
  DUMP_NEIGHBOURS,
  DUMP_ROUTES,
  decodeAddress,
  decodeNeighbour,
  decodeRoute,
  deleteAddressRequest,
  deleteRouteRequest,
  GET_ADDRESS,
  type InterfaceAddress,
  leadsAway,
  type Neighbour,
  type NewRoute,
  type Route,
  replaceRouteRequest,
} from "./netlink/route.ts";
import { NetlinkSocket, PROTOCOL } from "./netlink/socket.ts";

export type {
  InterfaceAddress,
  IpvlanKind,
  Link,
  MacvlanKind,
  Neighbour,
  NewRoute,
  Route,
  SharingOptions,
  VethOptions,
};
export { AddressChanges, addressBytes, addressText };

/**
 * rtnetlink of one network namespace: the one that the thread is in when this is made (see `inNetns`); it may be used
 * from any other later. It keeps the namespace alive until `close`. Synchronous; each call takes well under a
 * millisecond but for deleting links, for which the kernel waits. Throws SyscallError with the kernel's own words:
 * EEXIST for what is there, ENODEV for a link that isn't.
 */
export class Netlink {
  readonly #socket = new NetlinkSocket(PROTOCOL.route);

  links(): Link[] {
    return this.#socket.dump("list links", DUMP_LINKS.type, DUMP_LINKS.head).map(decodeLink);
  }

  /** Undefined if there is none of this name. */
  link(name: string): Link | undefined {
    try {
      return decodeLink(this.#socket.get(getLinkRequest(name)));
    } catch (error) {
      if (hasCode(error, "ENODEV")) return undefined;
      throw error;
    }
  }

  /** Of all links, or of the one of this index. */
  addresses(index = 0): InterfaceAddress[] {
    const found = this.#socket.dump("list addresses", GET_ADDRESS, addressesHead(index));
    const rows = found.map(decodeAddress).filter((row) => row !== undefined);
    return index === 0 ? rows : rows.filter((row) => row.index === index);
  }

  /** Of all tables and both families. */
  routes(): Route[] {
    const found = this.#socket.dump("list routes", DUMP_ROUTES.type, DUMP_ROUTES.head);
    return found.map(decodeRoute).filter((row) => row !== undefined);
  }

  /** Of all tables and both families, without those that the host's own addresses have. */
  routesAway(): Route[] {
    const found = this.#socket.dump("list routes", DUMP_ROUTES.type, DUMP_ROUTES.head);
    return found
      .filter(leadsAway)
      .map(decodeRoute)
      .filter((row) => row !== undefined);
  }

  neighbours(): Neighbour[] {
    const found = this.#socket.dump("list neighbours", DUMP_NEIGHBOURS.type, DUMP_NEIGHBOURS.head);
    return found.map(decodeNeighbour).filter((row) => row !== undefined);
  }

  /** The kernel can make links of this kind, which lie on another; it loads its module for the question. */
  hasKind(kind: "macvlan" | "ipvlan"): boolean {
    try {
      // Without a parent nothing is ever made.
      this.#socket.execute([createOrphanRequest(kind)]);
    } catch (error) {
      return !hasCode(error, "EOPNOTSUPP");
    }
    return true;
  }

  /** A bridge without spanning tree or forwarding delay, down. */
  createBridge(name: string, options: BridgeOptions = {}): void {
    this.#socket.execute([createBridgeRequest(name, options)]);
  }

  /** A sub-interface for one VLAN, down. */
  createVlan(name: string, options: VlanOptions): void {
    this.#socket.execute([createVlanRequest(name, options)]);
  }

  /** A link that leads nowhere, down. */
  createDummy(name: string, group: number): void {
    this.#socket.execute([createDummyRequest(name, group)]);
  }

  /** A macvlan or ipvlan on a parent, born in its target namespace, down. */
  createSharing(options: SharingOptions): void {
    this.#socket.execute([createSharingRequest(options)]);
  }

  /** Both ends at once; the peer is born in its target namespace, down. */
  createVeth(options: VethOptions): void {
    const { name, port } = options;
    // Where the first is refused, so is the second: it names a link that nobody else has.
    const settings = port === undefined ? [] : [bridgePortRequest(name, port)];
    this.#socket.execute([createVethRequest(options), ...settings]);
  }

  /** Links are told by their name or index. */
  changeLink(target: string | number, change: LinkChange): void {
    this.#socket.execute([changeLinkRequest(target, change)]);
  }

  setLinkUp(target: string | number): void {
    this.changeLink(target, { up: true });
  }

  setBridgePort(target: string, options: BridgePortOptions): void {
    this.#socket.execute([bridgePortRequest(target, options)]);
  }

  deleteLink(target: string | number): void {
    this.#socket.execute([deleteLinkRequest(target)]);
  }

  /**
   * As `deleteLink`, without waiting for the kernel in place: settles as soon as nobody finds the link any more, while
   * another thread goes on waiting until the kernel is done with it. Call it in the network namespace of the link: it
   * uses sockets of its own.
   */
  static async deleteLinkAside(target: string | number): Promise<void> {
    using departure = Departure.of(target);
    const socket = new NetlinkSocket(PROTOCOL.route);
    const answered = socket.executeAside(deleteLinkRequest(target)).finally(() => socket.close());
    await (departure === undefined ? answered : Promise.race([departure.gone, answered]));
  }

  addAddress(address: InterfaceAddress): void {
    this.#socket.execute([addAddressRequest(address)]);
  }

  deleteAddress(address: InterfaceAddress): void {
    this.#socket.execute([deleteAddressRequest(address)]);
  }

  addRoute(route: NewRoute): void {
    this.#socket.execute([addRouteRequest(route)]);
  }

  /** Puts a route in place of the one to the same destination, if there is one. */
  replaceRoute(route: NewRoute): void {
    this.#socket.execute([replaceRouteRequest(route)]);
  }

  deleteRoute(route: NewRoute): void {
    this.#socket.execute([deleteRouteRequest(route)]);
  }

  /** A permanent neighbour entry. */
  addNeighbour(neighbour: Neighbour): void {
    this.#socket.execute([addNeighbourRequest(neighbour)]);
  }

  /** Link up, its addresses and routes, in one exchange with the kernel; routes take the place of those there are. */
  configureLink(
    index: number,
    addresses: readonly Omit<InterfaceAddress, "index">[],
    routes: readonly NewRoute[] = [],
    change: LinkChange = {},
  ): void {
    this.#socket.execute([
      changeLinkRequest(index, { ...change, up: true }),
      ...addresses.map((address) => addAddressRequest({ ...address, index })),
      ...routes.map(replaceRouteRequest),
    ]);
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

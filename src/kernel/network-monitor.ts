import { hasCode } from "../base/errors.ts";
import type { Message } from "./netlink/message.ts";
import { decodeRoute } from "./netlink/route.ts";
import { NetlinkSocket, PROTOCOL } from "./netlink/socket.ts";
import { Readiness } from "./readiness.ts";

const MESSAGE = { linkGone: 17, address: 20, addressGone: 21, route: 24, routeGone: 25 } as const;
/** Of routes: the kernel's own, to what it takes in itself and what it sends to all. */
const LOCAL_TABLE = 255;
/** Links; addresses and routes of both families. */
const GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/** Taken at one turn of the event loop. */
const MOST_READS = 32;

/** A link that is gone; an address or a route that came or went, with its link's index (0 for a route without one). */
export interface NetworkChange {
  readonly what: "link" | "address" | "route";
  readonly index: number;
}

/**
 * Hears of links that go, and of addresses and routes, in the network namespace that the thread is in when it is made;
 * `loss` is called when there were more than the kernel keeps. Does not keep the process alive.
 */
export class NetworkMonitor {
  readonly #socket = new NetlinkSocket(PROTOCOL.route, GROUPS);
  readonly #readiness: Readiness;
  readonly #onChange: (change: NetworkChange) => void;
  readonly #onLoss: () => void;

  constructor(on: { readonly change: (change: NetworkChange) => void; readonly loss: () => void }) {
    this.#onChange = on.change;
    this.#onLoss = on.loss;
    this.#readiness = new Readiness(this.#socket.fd, () => this.#take());
    this.#readiness.watch(true);
    this.#readiness.unref();
  }

  close(): void {
    this.#readiness.close();
    this.#socket.close();
  }

  #take(): void {
    for (let reads = 0; reads < MOST_READS; reads++) {
      let changes: NetworkChange[];
      try {
        const news = this.#socket.news();
        if (news === undefined) return;
        changes = Array.from(news).flatMap((message) => changeOf(message) ?? []);
      } catch (error) {
        if (!hasCode(error, "ENOBUFS")) return;
        this.#onLoss();
        continue;
      }
      for (const change of changes) this.#onChange(change);
    }
  }
}

function changeOf(message: Message): NetworkChange | undefined {
  const { type, body } = message;
  switch (type) {
    case MESSAGE.linkGone:
      // A bridge tells of a port that leaves it in the same way, with a family.
      return body[0] === 0 ? { what: "link", index: body.readInt32LE(4) } : undefined;
    case MESSAGE.address:
    case MESSAGE.addressGone:
      return { what: "address", index: body.readInt32LE(4) };
    case MESSAGE.route:
    case MESSAGE.routeGone: {
      const route = decodeRoute(message);
      return route === undefined || route.table === LOCAL_TABLE ? undefined : { what: "route", index: route.index };
    }
    default:
      return undefined;
  }
}

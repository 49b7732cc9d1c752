import { closeSync } from "node:fs";
import { errnoError, isForLater, libc } from "./libc.ts";
import { decodeMessages, type Message } from "./netlink/message.ts";
import { decodeRoute } from "./netlink/route.ts";
import { PROTOCOL } from "./netlink/socket.ts";
import { Readiness } from "./readiness.ts";

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, uint32_t length)");
const recv = libc("ssize_t recv(int fd, void *data, size_t length, int flags)");

const AF_NETLINK = 16;
const SOCK_RAW = 3 | 0o2000000 | 0o4000;
const MSG_DONTWAIT = 0x40;
const MESSAGE = { linkGone: 17, address: 20, addressGone: 21, route: 24, routeGone: 25 } as const;
/** Of routes: the kernel's own, to what it takes in itself and what it sends to all. */
const LOCAL_TABLE = 255;
/** Links; addresses and routes of both families. */
const GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/** Taken at one turn of the event loop. */
const MOST_READS = 32;

// Nothing runs between a recv and the use of what came.
const incoming = Buffer.allocUnsafe(1 << 16);

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
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #onChange: (change: NetworkChange) => void;
  readonly #onLoss: () => void;

  constructor(on: { readonly change: (change: NetworkChange) => void; readonly loss: () => void }) {
    this.#onChange = on.change;
    this.#onLoss = on.loss;
    this.#fd = Number(socket(AF_NETLINK, SOCK_RAW, PROTOCOL.route));
    if (this.#fd < 0) throw errnoError("socket", "netlink");
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    address.writeUInt32LE(GROUPS, 8);
    if (bind(this.#fd, address, address.length) !== 0) {
      const error = errnoError("bind", "netlink groups");
      closeSync(this.#fd);
      throw error;
    }
    this.#readiness = new Readiness(this.#fd, () => this.#take());
    this.#readiness.watch(true);
    this.#readiness.unref();
  }

  close(): void {
    this.#readiness.close();
    closeSync(this.#fd);
  }

  #take(): void {
    for (let reads = 0; reads < MOST_READS; reads++) {
      const length = Number(recv(this.#fd, incoming, incoming.length, MSG_DONTWAIT));
      if (length < 0) {
        if (isForLater()) return;
        if (errnoError("recv", "netlink").code !== "ENOBUFS") return;
        this.#onLoss();
        continue;
      }
      for (const message of decodeMessages(incoming.subarray(0, length))) {
        const change = changeOf(message);
        if (change !== undefined) this.#onChange(change);
      }
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

import { closeSync } from "node:fs";
import { errnoError, isForLater, libc } from "../libc.ts";
import { Readiness } from "../readiness.ts";
import { decodeMessages, type Message } from "./message.ts";
import { PROTOCOL } from "./socket.ts";

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, uint32_t length)");
const recv = libc("ssize_t recv(int fd, void *data, size_t length, int flags)");

const AF_NETLINK = 16;
const SOCK_RAW = 3 | 0o2000000 | 0o4000;
const MSG_DONTWAIT = 0x40;
/** Links; addresses and routes of both families. */
const GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/** Taken at one turn of the event loop. */
const MOST_READS = 32;

// Nothing runs between a recv and the use of what came.
const incoming = Buffer.allocUnsafe(1 << 16);

/**
 * Hears of each change of links, addresses and routes in the network namespace that the thread is in when it is made;
 * `onLoss` is called when there were more than the kernel keeps. Does not keep the process alive.
 */
export class NetlinkMonitor {
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #onMessage: (message: Message) => void;
  readonly #onLoss: () => void;

  constructor(on: { readonly message: (message: Message) => void; readonly loss: () => void }) {
    this.#onMessage = on.message;
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
      for (const message of decodeMessages(incoming.subarray(0, length))) this.#onMessage(message);
    }
  }
}

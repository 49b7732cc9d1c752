import { closeSync } from "node:fs";
import { setReceiveRoom } from "./bound-socket.ts";
import { check, errnoError, isForLater, libc } from "./libc.ts";
import { decodeAttributes, decodeMessages, readText } from "./netlink/message.ts";
import { Readiness } from "./readiness.ts";

const socket = libc("int socket(int domain, int type, int protocol)");
const setsockopt = libc("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)");
const bind = libc("int bind(int fd, const void *address, uint32_t length)");
const recv = libc("ssize_t recv(int fd, void *data, size_t length, int flags)");

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_NETFILTER = 12;
const SOL_NETLINK = 270;
const ADD_MEMBERSHIP = 1;
const NFNLGRP_NFTABLES = 7;
const MSG_DONTWAIT = 0x40;
const NFTABLES = 10 << 8;
const NEWGEN = NFTABLES | 15;
/** nfgenmsg. */
const HEAD = 4;
/** The first attribute of each kind of object is its table's name. */
const TABLE = 1;
const GEN = { pid: 2, name: 3 } as const;
const RECEIVE_SIZE = 1 << 16;
/** A transaction of thousands of elements fits. */
const ROOM = 8 << 20;
/** So many at once; the rest comes at the loop's next turn. */
const MOST_READS = 64;

const incoming = Buffer.allocUnsafe(RECEIVE_SIZE);

/** Who changed the tables: what the kernel knows of the process. */
export interface NftChanger {
  readonly pid: number;
  readonly name: string;
}

/**
 * Calls `onChange` after each transaction of another process that touched a table of nftables of this name, with
 * undefined where the kernel has lost count of what happened, and `onOther` after one that touched other tables.
 * Changes of one's own go through `ours`. Belongs to the network namespace of the thread. It doesn't keep the process
 * alive.
 */
export class NftWatch {
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #table: string;
  readonly #onChange: (by: NftChanger | undefined) => void;
  readonly #onOther: () => void;
  #isTouched = false;
  #isOtherTouched = false;
  /** What the kernel calls this process, which may be in a namespace of process ids. */
  #ownPid = 0;

  constructor(ports: { table: string; onChange: (by: NftChanger | undefined) => void; onOther: () => void }) {
    this.#table = ports.table;
    this.#onChange = ports.onChange;
    this.#onOther = ports.onOther;
    this.#fd = check("socket", socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_NETFILTER), "netlink");
    try {
      const address = Buffer.alloc(12);
      address.writeUInt16LE(AF_NETLINK, 0);
      check("bind", bind(this.#fd, address, address.length), "netlink");
      const group = Buffer.from([NFNLGRP_NFTABLES, 0, 0, 0]);
      check("setsockopt", setsockopt(this.#fd, SOL_NETLINK, ADD_MEMBERSHIP, group, 4), "NETLINK_ADD_MEMBERSHIP");
      setReceiveRoom(this.#fd, ROOM);
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
    this.#readiness = new Readiness(this.#fd, () => this.#read({ isOurs: false, most: MOST_READS }));
    this.#readiness.watch(true);
    this.#readiness.unref();
  }

  /** Runs a change of this process's own. */
  ours<T>(act: () => T): T {
    this.#read({ isOurs: false, most: Number.POSITIVE_INFINITY });
    try {
      return act();
    } finally {
      // The kernel has told of it before it answered.
      this.#read({ isOurs: true, most: Number.POSITIVE_INFINITY });
    }
  }

  close(): void {
    this.#readiness.close();
    closeSync(this.#fd);
  }

  #read(options: { readonly isOurs: boolean; readonly most: number }): void {
    for (let count = 0; count < options.most; count++) {
      const length = Number(recv(this.#fd, incoming, incoming.length, MSG_DONTWAIT));
      if (length < 0) {
        if (isForLater()) return;
        const error = errnoError("recv", "netlink");
        if (error.code !== "ENOBUFS") throw error;
        this.#isTouched = false;
        this.#onChange(undefined);
        continue;
      }
      for (const { type, body } of decodeMessages(incoming.subarray(0, length))) {
        const attributes = decodeAttributes(body, HEAD);
        if (type === NEWGEN) this.#end(attributes, options.isOurs);
        else if ((type & 0xff00) === NFTABLES) {
          if (readText(attributes.get(TABLE)) === this.#table) this.#isTouched = true;
          else this.#isOtherTouched = true;
        }
      }
    }
  }

  /** The last message of a transaction. */
  #end(attributes: ReadonlyMap<number, Buffer>, isOurs: boolean): void {
    const [isTouched, isOtherTouched] = [this.#isTouched, this.#isOtherTouched];
    this.#isTouched = false;
    this.#isOtherTouched = false;
    const pid = attributes.get(GEN.pid)?.readUInt32BE(0) ?? 0;
    if (isOurs && isTouched && this.#ownPid === 0) this.#ownPid = pid;
    if (pid === this.#ownPid) return;
    if (isOtherTouched) this.#onOther();
    if (isTouched) this.#onChange({ pid, name: readText(attributes.get(GEN.name)) });
  }
}

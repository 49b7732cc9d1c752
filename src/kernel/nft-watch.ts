import { hasCode } from "../base/errors.ts";
import { setReceiveRoom } from "./bound-socket.ts";
import { decodeAttributes, readText } from "./netlink/message.ts";
import { NetlinkSocket, PROTOCOL } from "./netlink/socket.ts";
import { Readiness } from "./readiness.ts";

/** NFNLGRP_NFTABLES is the seventh. */
const GROUPS = 1 << 6;
const NFTABLES = 10 << 8;
const NEWGEN = NFTABLES | 15;
/** nfgenmsg. */
const HEAD = 4;
/** The first attribute of each kind of object is its table's name. */
const TABLE = 1;
const GEN = { pid: 2, name: 3 } as const;
/** A transaction of thousands of elements fits. */
const ROOM = 8 << 20;
/** So many at once; the rest comes at the loop's next turn. */
const MOST_READS = 64;

/** Who changed the tables: what the kernel knows of the process. */
export interface NftChanger {
  readonly pid: number;
  readonly name: string;
}

interface Transaction extends NftChanger {
  /** The table of this name. */
  readonly isTouched: boolean;
  readonly isOtherTouched: boolean;
}

/**
 * Calls `onChange` after each transaction of another process that touched a table of nftables of this name, with
 * undefined where the kernel has lost count of what happened, and `onOther` after one that touched other tables.
 * Changes of one's own go through `ours`. Belongs to the network namespace of the thread. It doesn't keep the process
 * alive.
 */
export class NftWatch {
  readonly #socket = new NetlinkSocket(PROTOCOL.netfilter, GROUPS);
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
    try {
      setReceiveRoom(this.#socket.fd, ROOM);
    } catch (error) {
      this.#socket.close();
      throw error;
    }
    this.#readiness = new Readiness(this.#socket.fd, () => this.#read({ isOurs: false, most: MOST_READS }));
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
    this.#socket.close();
  }

  #read({ isOurs, most }: { readonly isOurs: boolean; readonly most: number }): void {
    for (let count = 0; count < most; count++) {
      const ended = this.#take();
      if (ended === undefined) return;
      if (ended === "lost") this.#onChange(undefined);
      else for (const transaction of ended) this.#tell(transaction, isOurs);
    }
  }

  /** The transactions that the next news end; undefined if there are no news. */
  #take(): Transaction[] | "lost" | undefined {
    const ended: Transaction[] = [];
    try {
      const news = this.#socket.news();
      if (news === undefined) return undefined;
      for (const { type, body } of news) {
        const attributes = decodeAttributes(body, HEAD);
        if (type === NEWGEN) ended.push(this.#end(attributes));
        else if ((type & 0xff00) === NFTABLES) {
          if (readText(attributes.get(TABLE)) === this.#table) this.#isTouched = true;
          else this.#isOtherTouched = true;
        }
      }
      return ended;
    } catch (error) {
      if (!hasCode(error, "ENOBUFS")) throw error;
      this.#isTouched = false;
      return "lost";
    }
  }

  /** By the last message of a transaction. */
  #end(attributes: ReadonlyMap<number, Buffer>): Transaction {
    const [isTouched, isOtherTouched] = [this.#isTouched, this.#isOtherTouched];
    this.#isTouched = false;
    this.#isOtherTouched = false;
    const pid = attributes.get(GEN.pid)?.readUInt32BE(0) ?? 0;
    return { pid, name: readText(attributes.get(GEN.name)), isTouched, isOtherTouched };
  }

  #tell({ pid, name, isTouched, isOtherTouched }: Transaction, isOurs: boolean): void {
    if (isOurs && isTouched && this.#ownPid === 0) this.#ownPid = pid;
    if (pid === this.#ownPid) return;
    if (isOtherTouched) this.#onOther();
    if (isTouched) this.#onChange({ pid, name });
  }
}

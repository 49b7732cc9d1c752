import { hasCode } from "../../base/errors.ts";
import { nativeBlock, readInto, writeBytes } from "../../kernel/descriptor.ts";
import { Readiness } from "../../kernel/readiness.ts";
import {
  attrBody,
  ERRNO,
  entryBody,
  folderBody,
  initBody,
  noEntryBody,
  OP,
  REQUEST_HEAD,
  replyOf,
  resendNotice,
  statfsBody,
  type Told,
  xattrBody,
} from "./fuse-message.ts";
import type { Layer } from "./layer.ts";
import { type FileNode, TYPE } from "./tree.ts";

/** More than the kernel ever sends at once: it refuses shorter reads. */
const ROOM = 512 << 10;
/** Requests that are answered before others have a turn. */
const BATCH = 64;

export interface FuseSessionPorts {
  /** /dev/fuse, mounted. */
  readonly fd: number;
  /** True for a thread that must not wait for the network. */
  readonly mayNotWait: (tid: number) => boolean;
  readonly onFailure: (layer: Layer, node: FileNode, error: unknown) => void;
  /** The file system is unmounted, everywhere. */
  readonly onEnd: () => void;
}

/** Answers the kernel: a folder that has one for each layer, by its number. Nothing in them ever changes. */
export class FuseSession {
  readonly #ports: FuseSessionPorts;
  readonly #room = nativeBlock(ROOM);
  readonly #readiness: Readiness;
  readonly #layers = new Map<number, Layer>();
  /** Reads that wait for bytes. */
  readonly #waiting = new Set<bigint>();
  readonly #listings = new WeakMap<FileNode, (readonly [Buffer, Told])[]>();
  readonly #root: FileNode = folderNode();

  constructor(ports: FuseSessionPorts) {
    this.#ports = ports;
    this.#readiness = new Readiness(ports.fd, () => this.#take());
  }

  add(number: number, layer: Layer): void {
    this.#layers.set(number, layer);
  }

  remove(number: number): void {
    this.#layers.delete(number);
  }

  /** Answers from now on; with `resend` also what an earlier server took and did not answer. */
  begin({ resend }: { readonly resend: boolean }): void {
    this.#readiness.watch(true);
    if (!resend) return;
    try {
      writeBytes(this.#ports.fd, resendNotice());
    } catch (error) {
      // Nothing was ever asked, not even for the first greeting.
      if (!hasCode(error, "EINVAL", "EPERM", "ENOTCONN")) throw error;
    }
  }

  close(): void {
    this.#readiness.close();
  }

  #take(): void {
    for (let count = 0; count < BATCH; count++) {
      let length: number;
      try {
        length = readInto(this.#ports.fd, this.#room.address, ROOM);
      } catch (error) {
        // ENOENT: a request was taken back just then.
        if (hasCode(error, "ENOENT")) continue;
        this.close();
        this.#ports.onEnd();
        return;
      }
      if (length <= 0) return;
      this.#answer(this.#room.bytes.subarray(0, length));
    }
  }

  #answer(message: Buffer): void {
    const code = message.readUInt32LE(4);
    const unique = message.readBigUInt64LE(8);
    const body = message.subarray(REQUEST_HEAD);
    switch (code) {
      case OP.forget:
      case OP.batchForget:
        return;
      case OP.interrupt:
        this.#interrupt(body.readBigUInt64LE(0));
        return;
      case OP.init:
        this.#reply(unique, 0, initBody(body));
        return;
      case OP.statfs:
        this.#reply(unique, 0, statfsBody());
        return;
      case OP.release:
      case OP.releasedir:
      case OP.destroy:
        this.#reply(unique, 0);
        return;
    }
    const ino = message.readUInt32LE(16);
    const number = message.readUInt32LE(20);
    const layer = this.#layers.get(number);
    const node = number === 0 ? this.#root : layer?.tree.nodes[ino - 1];
    if (node === undefined) {
      this.#reply(unique, ERRNO.EIO);
      return;
    }
    const told: Told = { layer: number, node };
    switch (code) {
      case OP.lookup:
        this.#reply(unique, 0, this.#lookUp(told, textAt(body, 0)));
        return;
      case OP.getattr:
        this.#reply(unique, 0, attrBody(told));
        return;
      case OP.readlink:
        if ((node.mode & TYPE.mask) === TYPE.symlink) this.#reply(unique, 0, Buffer.from(node.target));
        else this.#reply(unique, ERRNO.EINVAL);
        return;
      case OP.read: {
        const offset = Number(body.readBigUInt64LE(8));
        this.#read(unique, layer, node, offset, body.readUInt32LE(16), message.readUInt32LE(32));
        return;
      }
      case OP.readdir:
      case OP.readdirplus: {
        if (node.children === undefined) {
          this.#reply(unique, ERRNO.ENOTDIR);
          return;
        }
        const offset = Number(body.readBigUInt64LE(8));
        const rows = this.#listing(told);
        this.#reply(unique, 0, folderBody(rows, offset, body.readUInt32LE(16), code === OP.readdirplus));
        return;
      }
      case OP.getxattr:
      case OP.listxattr: {
        const names = [...node.xattrs.keys()].map((name) => `${name}\0`).join("");
        const value = code === OP.listxattr ? Buffer.from(names) : node.xattrs.get(textAt(body, 8));
        const answer = value === undefined ? ERRNO.ENODATA : xattrBody(value, body.readUInt32LE(0));
        if (typeof answer === "number") this.#reply(unique, answer);
        else this.#reply(unique, 0, answer);
        return;
      }
      default:
        // Of open, opendir, access and flush the kernel learns that it need not ask.
        this.#reply(unique, ERRNO.ENOSYS);
    }
  }

  #lookUp({ layer, node }: Told, name: string): Buffer {
    if (layer === 0) {
      const number = /^[1-9]\d{0,9}$/.test(name) ? Number(name) : 0;
      const root = this.#layers.get(number)?.tree.root;
      return root === undefined ? noEntryBody({ isForever: false }) : entryBody({ layer: number, node: root });
    }
    const child = node.children?.get(name);
    return child === undefined ? noEntryBody({ isForever: true }) : entryBody({ layer, node: child });
  }

  #read(unique: bigint, layer: Layer | undefined, node: FileNode, offset: number, size: number, tid: number): void {
    if (layer === undefined || (node.mode & TYPE.mask) !== TYPE.reg) {
      this.#reply(unique, ERRNO.EIO);
      return;
    }
    this.#waiting.add(unique);
    const answer = (error: number, body?: Buffer): void => {
      // It was interrupted meanwhile, and answered then.
      if (this.#waiting.delete(unique)) this.#reply(unique, error, body);
    };
    layer.read(node, offset, size, { local: this.#ports.mayNotWait(tid) }).then(
      (bytes) => answer(0, bytes),
      (error: unknown) => {
        this.#ports.onFailure(layer, node, error);
        answer(ERRNO.EIO);
      },
    );
  }

  /** The reader doesn't want to wait any longer, or is being killed. What was begun for it goes on for the next. */
  #interrupt(unique: bigint): void {
    if (this.#waiting.delete(unique)) this.#reply(unique, ERRNO.EINTR);
  }

  #listing(told: Told): (readonly [Buffer, Told])[] {
    const { layer, node } = told;
    if (layer === 0) {
      const own = [...this.#layers].map(([number, { tree }]) =>
        row(String(number), { layer: number, node: tree.root }),
      );
      return [row(".", told), row("..", told), ...own];
    }
    const known = this.#listings.get(node);
    if (known !== undefined) return known;
    const rows = [
      row(".", told),
      row("..", { layer, node: node.parent ?? node }),
      ...[...node.children!].map(([name, child]) => row(name, { layer, node: child })),
    ];
    this.#listings.set(node, rows);
    return rows;
  }

  #reply(unique: bigint, error: number, body?: Buffer): void {
    try {
      writeBytes(this.#ports.fd, replyOf(unique, error, body));
    } catch {
      // Who asked is gone.
    }
  }
}

function row(name: string, told: Told): readonly [Buffer, Told] {
  return [Buffer.from(name), told];
}

function textAt(bytes: Buffer, at: number): string {
  return bytes.toString("utf8", at, bytes.indexOf(0, at));
}

function folderNode(): FileNode {
  return {
    ino: 1,
    // Nobody else on the machine gets at images' files, which may be setuid.
    mode: TYPE.dir | 0o700,
    uid: 0,
    gid: 0,
    size: 0,
    seconds: 0,
    nanoseconds: 0,
    device: 0,
    links: 2,
    target: "",
    xattrs: new Map(),
    children: new Map(),
    parent: undefined,
    chunks: [],
  };
}

import { closeSync } from "node:fs";
import { GantryError, type SyscallError } from "../../base/errors.ts";
import { check, errnoError, isForLater, libc, syscallError } from "../libc.ts";
import {
  type Attribute,
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  HEADER,
  type Message,
  NLM_F,
  readText,
} from "./message.ts";

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, uint32_t length)");
const send = libc("ssize_t send(int fd, const void *data, size_t length, int flags)");
const recv = libc("ssize_t recv(int fd, void *data, size_t length, int flags)");
const setsockopt = libc("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)");

const AF_NETLINK = 16;
const ADDRESS_SIZE = 12;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_DONTWAIT = 0x40;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_MESSAGE = 1;
const ACK_HAS_TEXT = 0x200;
const MAX_DUMP_TRIES = 16;

export const PROTOCOL = { route: 0, netfilter: 12 } as const;

/** A request of a batch: the message, and what it does in words for the error. */
export interface Request {
  readonly what: string;
  readonly message: Buffer;
}

// The kernel answers within send(), so one buffer serves all sockets: nothing runs between a send and its recv.
const incoming = Buffer.allocUnsafe(1 << 18);
const ONE = Buffer.from([1, 0, 0, 0]);

/**
 * A netlink socket. It belongs for ever to the network namespace that the thread was in when it was made, and keeps
 * that namespace alive until it is closed.
 */
export class NetlinkSocket {
  readonly #fd: number;
  #sequence = 0;

  /** `groups` are those whose news it gets, a bit each. */
  constructor(protocol: number, groups = 0) {
    this.#fd = check("socket", socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), "netlink");
    if (groups !== 0) this.#join(groups);
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_CAP_ACK, ONE, 4);
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, ONE, 4);
    // Where the kernel has it (4.20), it leaves out of a dump what the head of the request does not ask for.
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, ONE, 4);
  }

  /** Sends all requests at once; throws the first refusal, those after it have been tried all the same. */
  execute(requests: readonly Request[]): void {
    const names = new Map<number, string>();
    for (const { what, message } of requests) names.set(this.#number(message), what);
    this.#send(requests.length === 1 ? requests[0]!.message : Buffer.concat(requests.map((r) => r.message)));
    let failure: SyscallError | undefined;
    while (names.size > 0) {
      for (const message of this.#receive()) {
        const what = names.get(message.sequence);
        if (what === undefined || message.type !== NLMSG_ERROR) continue;
        names.delete(message.sequence);
        failure ??= refusal(message, what);
      }
    }
    if (failure !== undefined) throw failure;
  }

  /**
   * As `execute` for one request that the kernel takes its time for: another thread waits. Nothing else may be asked of
   * this socket meanwhile.
   */
  async executeAside({ what, message }: Request): Promise<void> {
    const sequence = this.#number(message);
    const { promise, resolve } = Promise.withResolvers<number>();
    send.async(this.#fd, message, message.length, 0, (error: unknown, sent: unknown) =>
      resolve(error === null || error === undefined ? Number(sent) : -1),
    );
    if ((await promise) < 0) throw new GantryError("internal", `cannot ${what}: the kernel did not take the request`);
    for (const answer of this.#receive()) {
      if (answer.sequence !== sequence || answer.type !== NLMSG_ERROR) continue;
      const failure = refusal(answer, what);
      if (failure !== undefined) throw failure;
    }
  }

  /** The one answer to a request that asks for one thing. */
  get({ what, message }: Request): Message {
    const sequence = this.#number(message);
    this.#send(message);
    for (;;) {
      for (const answer of this.#receive()) {
        if (answer.sequence !== sequence) continue;
        if (answer.type === NLMSG_ERROR) throw refusal(answer, what) ?? new Error(`${what}: unexpected answer`);
        return { ...answer, body: Buffer.from(answer.body) };
      }
    }
  }

  /** To be watched for news; it is closed with the socket. */
  get fd(): number {
    return this.#fd;
  }

  /** The next news, to be read at once; undefined if there are none. ENOBUFS if some were lost. */
  news(): Iterable<Message> | undefined {
    const length = this.#take();
    if (length >= 0) return decodeMessages(incoming.subarray(0, length));
    if (isForLater()) return undefined;
    throw errnoError("recv", "netlink");
  }

  /** All that the kernel lists for a dump request. A list that changed meanwhile is asked for again. */
  dump(what: string, type: number, head: Uint8Array, attributes: readonly Attribute[] = []): Message[] {
    for (let attempt = 1; ; attempt++) {
      const { messages, interrupted } = this.#dumpOnce(
        what,
        encodeMessage(type, NLM_F.request | NLM_F.dump, head, attributes),
      );
      if (!interrupted || attempt === MAX_DUMP_TRIES) return messages;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #dumpOnce(what: string, request: Buffer): { messages: Message[]; interrupted: boolean } {
    const sequence = this.#number(request);
    this.#send(request);
    const messages: Message[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#receive()) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F.dumpInterrupted) !== 0) interrupted = true;
        if (message.type === NLMSG_ERROR) throw refusal(message, what) ?? new Error(`${what}: unexpected answer`);
        if (message.type === NLMSG_DONE) return { messages, interrupted };
        messages.push({ ...message, body: Buffer.from(message.body) });
      }
    }
  }

  #join(groups: number): void {
    const name = Buffer.alloc(ADDRESS_SIZE);
    name.writeUInt16LE(AF_NETLINK, 0);
    name.writeUInt32LE(groups, 8);
    if (bind(this.#fd, name, name.length) === 0) return;
    const error = errnoError("bind", "netlink");
    this.close();
    throw error;
  }

  #number(message: Buffer): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    message.writeUInt32LE(this.#sequence, 8);
    return this.#sequence;
  }

  #send(data: Buffer): void {
    const sent = Number(send(this.#fd, data, data.length, 0));
    if (sent < 0) throw errnoError("send", "netlink");
  }

  #receive(): Generator<Message> {
    const length = this.#take();
    if (length < 0) throw errnoError("recv", "netlink");
    return decodeMessages(incoming.subarray(0, length));
  }

  #take(): number {
    return Number(recv(this.#fd, incoming, incoming.length, MSG_DONTWAIT));
  }
}

function refusal(message: Message, what: string): SyscallError | undefined {
  const errno = -message.body.readInt32LE(0);
  if (errno === 0) return undefined;
  const words = (message.flags & ACK_HAS_TEXT) === 0 ? "" : readText(ackAttribute(message));
  return syscallError("netlink", errno, words === "" ? what : `${what}: ${words}`);
}

function ackAttribute(message: Message): Buffer | undefined {
  // errno, then the header of the refused message (the rest of it is left out by NETLINK_CAP_ACK), then attributes.
  return decodeAttributes(message.body, 4 + HEADER).get(NLMSGERR_MESSAGE);
}

import { receiveSome, sendSome } from "../kernel/bound-socket.ts";
import { framed } from "./dns-forward.ts";
import type { Gate, Turnstile, Visitor } from "./turnstile.ts";

const IDLE_MS = 10_000;
/** Grows for a query that is longer, which few are. */
const ROOM = 4096;
/** Answers that are sent by one call of the kernel: so many queries, or so many bytes and one answer. */
const MOST_AT_ONCE = 32;
const MOST_BYTES = 16 << 10;
const LENGTH_SIZE = 2;
const NOTHING = Buffer.alloc(0);

export interface QueryStreamPorts {
  /** The answer to a query, whose bytes are valid until it has been answered; undefined for none. */
  readonly answer: (query: Buffer) => Buffer | undefined | Promise<Buffer | undefined>;
  readonly onClose: () => void;
}

/**
 * A connection with DNS queries, each after its length (RFC 1035, 4.2.2). They are answered one after the other: a
 * client that does not read is not read from, and has one batch of answers waiting at most. Owns `fd`.
 */
export class QueryStream implements Visitor {
  readonly #fd: number;
  readonly #ports: QueryStreamPorts;
  readonly #gate: Gate;
  readonly #idle: NodeJS.Timeout;
  /** What came lies from #from to #to. */
  #bytes = Buffer.allocUnsafe(ROOM);
  #from = 0;
  #to = 0;
  #out: Buffer = NOTHING;
  #isAsking = false;
  #isEnded = false;

  constructor(fd: number, turnstile: Turnstile, ports: QueryStreamPorts) {
    this.#fd = fd;
    this.#ports = ports;
    this.#gate = turnstile.admit(fd, this);
    this.#idle = setTimeout(() => this.close(), IDLE_MS).unref();
  }

  get awaits(): Visitor["awaits"] {
    if (this.#isAsking) return "nothing";
    return this.#out.length > 0 ? "writing" : "reading";
  }

  step(): boolean {
    if (this.#isAsking) return false;
    try {
      return this.#go();
    } catch {
      // The client is gone.
      this.close();
      return false;
    }
  }

  close(): void {
    if (!this.#gate.isOpen) return;
    clearTimeout(this.#idle);
    this.#gate.close();
    this.#ports.onClose();
  }

  /** Sends what is left, else reads, else answers. */
  #go(): boolean {
    if (this.#out.length > 0) {
      const isSome = this.#send(this.#out);
      return isSome && this.#out.length === 0;
    }
    if (this.#frameEnd() === undefined) {
      if (this.#isEnded) {
        this.close();
        return false;
      }
      const size = this.#receive();
      if (size === undefined) return false;
      this.#isEnded = size === 0;
      this.#idle.refresh();
      return true;
    }
    this.#answerSome();
    return this.awaits === "reading";
  }

  #answerSome(): void {
    const answers: Buffer[] = [];
    let bytes = 0;
    for (let count = 0; count < MOST_AT_ONCE && bytes < MOST_BYTES; count++) {
      const end = this.#frameEnd();
      if (end === undefined) break;
      const answer = this.#ports.answer(this.#bytes.subarray(this.#from + LENGTH_SIZE, end));
      this.#from = end;
      if (answer instanceof Promise) {
        this.#isAsking = true;
        void answer.then((late) => this.#answered(late));
        break;
      }
      if (answer === undefined) continue;
      answers.push(framed(answer));
      bytes += answer.length;
    }
    if (answers.length > 0) this.#send(answers.length === 1 ? answers[0]! : Buffer.concat(answers));
  }

  /** What was asked for elsewhere. */
  #answered(answer: Buffer | undefined): void {
    this.#isAsking = false;
    if (!this.#gate.isOpen) return;
    if (answer !== undefined) this.#out = Buffer.concat([this.#out, framed(answer)]);
    this.#gate.call();
  }

  /** Whether any of it went. */
  #send(bytes: Buffer): boolean {
    const sent = sendSome(this.#fd, bytes);
    // What is kept is not what it was part of.
    this.#out = sent === bytes.length ? NOTHING : Buffer.from(bytes.subarray(sent));
    if (sent > 0) this.#idle.refresh();
    return sent > 0;
  }

  /** Where the first query ends; undefined if it has not come whole. */
  #frameEnd(): number | undefined {
    const size = this.#to - this.#from;
    if (size < LENGTH_SIZE) return undefined;
    const end = this.#from + LENGTH_SIZE + this.#bytes.readUInt16BE(this.#from);
    return end <= this.#to ? end : undefined;
  }

  #receive(): number | undefined {
    this.#bytes.copyWithin(0, this.#from, this.#to);
    this.#to -= this.#from;
    this.#from = 0;
    const wanted = this.#to < LENGTH_SIZE ? 0 : LENGTH_SIZE + this.#bytes.readUInt16BE(0);
    const room = this.#to === 0 || wanted <= ROOM ? ROOM : wanted;
    if (room !== this.#bytes.length) {
      const other = Buffer.allocUnsafe(room);
      this.#bytes.copy(other, 0, 0, this.#to);
      this.#bytes = other;
    }
    const size = receiveSome(this.#fd, this.#bytes.subarray(this.#to));
    if (size !== undefined) this.#to += size;
    return size;
  }
}

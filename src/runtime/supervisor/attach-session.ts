import { closeSync } from "node:fs";
import { growUnixSendBuffer, nativeBlock, readInto, sendBytes, sendFrom } from "../../kernel/descriptor.ts";
import { Readiness } from "../../kernel/readiness.ts";
import { endWriting, isHungUp } from "../../kernel/unix-socket.ts";
import { HEAD_POLL_MS, HeadWait } from "../head-wait.ts";
import { MAX_CHUNK } from "../log-format.ts";
import type { AttachEnd } from "../process.ts";
import type { AttachMessage } from "../protocol.ts";
import { DetachKeys } from "./detach-keys.ts";
import type { StdinWriter } from "./stdin-writer.ts";
import { chunk, DATA } from "./transfer.ts";

const INPUT_SIZE = 64 * 1024;
const FRAME_HEADER = 8;
// Room for one whole chunk, so that it need not be copied to wait for its client.
const SEND_BUFFER = 2 * MAX_CHUNK;
const LINGER_MS = 5000;
const input = nativeBlock(INPUT_SIZE);

/** What a session is joined to. */
export interface SessionTarget {
  /** undefined: takes no input. */
  readonly stdin: StdinWriter | undefined;
  readonly terminal: boolean;
  /** A client has said all it will. */
  inputEnded(): void;
  /** The session has room again, or is gone. */
  unblocked(): void;
}

/** One client's connection, whose descriptor this owns. */
export class AttachSession {
  readonly id: string;
  readonly execId: string | undefined;
  readonly #fd: number;
  readonly #message: AttachMessage;
  readonly #ended: (end: AttachEnd) => void;
  readonly #readiness: Readiness;
  #keys = new DetachKeys(Buffer.alloc(0));
  #target: SessionTarget | undefined;
  #pending: Buffer[] = [];
  /** There while output has to wait for the client to read the answer's head. */
  #headWait: HeadWait | undefined;
  #headTimer: NodeJS.Timeout | undefined;
  #inputOpen = true;
  #ending: AttachEnd | undefined;
  #closed = false;

  constructor(fd: number, message: AttachMessage, ended: (end: AttachEnd) => void) {
    this.id = message.id;
    this.execId = message.execId;
    this.#fd = fd;
    this.#message = message;
    this.#ended = ended;
    this.#readiness = new Readiness(fd, (events) => {
      if (events.writable) this.#flush();
      if (events.readable && !this.#closed) this.#receive();
    });
    growUnixSendBuffer(fd, SEND_BUFFER);
    const head = Buffer.from(message.preamble, "base64");
    this.#queue(head);
    if (head.length > 0 && !this.#closed) this.#headWait = new HeadWait(fd);
  }

  /** True while the client has not taken what it was sent: its process's output must wait. */
  get isBlocked(): boolean {
    return this.#pending.length > 0 && this.#ending === undefined;
  }

  /** Joins the session to a process; input that came before is passed on. */
  join(target: SessionTarget): void {
    this.#target = target;
    if (target.terminal) this.#keys = new DetachKeys(Buffer.from(this.#message.detachKeys, "base64"));
    this.#take(Buffer.from(this.#message.head, "base64"));
    this.inputMayFlow();
  }

  /** Passes on the chunk in the transfer block; its header goes into the room before it. */
  output(stream: 1 | 2, size: number): void {
    const wanted = stream === 1 ? this.#message.stdout : this.#message.stderr;
    if (!wanted || this.#closed || this.#ending !== undefined) return;
    let from = DATA;
    if (this.#message.multiplexed) {
      from -= FRAME_HEADER;
      writeFrameHeader(chunk.bytes, from, stream, size);
    }
    const end = DATA + size;
    if (this.#pending.length === 0 && !this.#waitsForHead()) {
      try {
        while (from < end) {
          const count = sendFrom(this.#fd, chunk.address + from, end - from);
          if (count < 0) break;
          from += count;
        }
      } catch {
        this.close("client-left");
        return;
      }
    }
    if (from === end) return;
    this.#pending.push(Buffer.from(chunk.bytes.subarray(from, end)));
    this.#watch();
  }

  /** Tells the client something that the process did not print. */
  say(text: string): void {
    const bytes = Buffer.from(text);
    const header = Buffer.alloc(this.#message.multiplexed ? FRAME_HEADER : 0);
    if (header.length > 0) writeFrameHeader(header, 0, 1, bytes.length);
    this.#queue(Buffer.concat([header, bytes]));
  }

  /** Ends the connection after everything has been sent. */
  end(end: AttachEnd): void {
    if (this.#closed || this.#ending !== undefined) return;
    this.#ending = end;
    if (this.#pending.length === 0) this.#finish();
    else this.#watch();
  }

  /** The process takes input again. */
  inputMayFlow(): void {
    if (!this.#closed) this.#watch();
  }

  close(end: AttachEnd): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pending = [];
    clearTimeout(this.#headTimer);
    this.#readiness.close();
    closeSync(this.#fd);
    if (this.#inputOpen && this.#message.stdin) this.#target?.inputEnded();
    this.#inputOpen = false;
    this.#ended(end);
    this.#target?.unblocked();
  }

  #queue(bytes: Buffer): void {
    if (bytes.length === 0 || this.#closed) return;
    this.#pending.push(bytes);
    if (this.#pending.length === 1) this.#flush();
  }

  #waitsForHead(): boolean {
    if (this.#headWait === undefined) return false;
    if (this.#headWait.isOver()) {
      this.#headWait = undefined;
      clearTimeout(this.#headTimer);
      this.#headTimer = undefined;
      return false;
    }
    this.#headTimer ??= setTimeout(() => {
      this.#headTimer = undefined;
      this.#flush();
    }, HEAD_POLL_MS);
    return true;
  }

  #flush(): void {
    const wasBlocked = this.#pending.length > 0;
    if (wasBlocked && this.#waitsForHead()) {
      this.#watch();
      return;
    }
    try {
      for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
        const count = sendBytes(this.#fd, first);
        if (count < 0) break;
        if (count === first.length) this.#pending.shift();
        else this.#pending[0] = first.subarray(count);
      }
    } catch {
      this.close("client-left");
      return;
    }
    if (this.#pending.length === 0 && this.#ending !== undefined) {
      this.#finish();
      return;
    }
    this.#watch();
    if (wasBlocked && this.#pending.length === 0) this.#target?.unblocked();
  }

  #watch(): void {
    const stdin = this.#message.stdin ? this.#target?.stdin : undefined;
    // Before the process is there its input stays in the socket, so that none of it is lost.
    const wantsInput = this.#inputOpen && this.#target !== undefined && stdin?.isFull !== true;
    this.#readiness.watch(wantsInput, this.#pending.length > 0 && this.#headTimer === undefined);
  }

  #receive(): void {
    let count: number;
    try {
      count = readInto(this.#fd, input.address, INPUT_SIZE);
    } catch {
      this.close("client-left");
      return;
    }
    if (count < 0) return;
    if (count > 0) {
      this.#take(input.bytes.subarray(0, count));
      return;
    }
    if (isHungUp(this.#fd)) {
      this.close("client-left");
      return;
    }
    this.#inputOpen = false;
    if (this.#message.stdin) this.#target?.inputEnded();
    this.#watch();
  }

  #take(bytes: Buffer): void {
    const stdin = this.#target?.stdin;
    if (!this.#message.stdin || stdin === undefined || this.#ending !== undefined) return;
    const { bytes: passed, detached } = this.#keys.filter(bytes);
    stdin.write(passed);
    if (detached) this.end("detached");
    else this.#watch();
  }

  /** Says the end, then waits for the client's: closing with unread input would tear down what is still under way. */
  #finish(): void {
    const end = this.#ending ?? "exited";
    this.#closed = true;
    this.#readiness.close();
    this.#ended(end);
    if (end === "detached" && this.#inputOpen) this.#inputOpen = false;
    endWriting(this.#fd);
    const lingering = new Readiness(this.#fd, () => {
      try {
        if (readInto(this.#fd, input.address, INPUT_SIZE) !== 0) return;
      } catch {
        // Reset by the client: it has gone.
      }
      done();
    });
    const done = (): void => {
      clearTimeout(timer);
      lingering.close();
      closeSync(this.#fd);
    };
    const timer = setTimeout(done, LINGER_MS);
    lingering.watch(true);
    this.#target?.unblocked();
  }
}

function writeFrameHeader(block: Buffer, at: number, stream: number, size: number): void {
  block.writeUInt32BE(stream << 24, at);
  block.writeUInt32BE(size, at + 4);
}

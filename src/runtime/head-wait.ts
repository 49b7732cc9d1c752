import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { unsentBytes } from "../kernel/descriptor.ts";
import { isUnixSocket } from "../kernel/unix-socket.ts";
import { descriptorOf } from "./socket-hand-over.ts";

/** How often to look whether a client has read the head. */
export const HEAD_POLL_MS = 1;
/** A client that reads nothing for so long is not one that is about to. */
const MOST_MS = 100;
/** Where nobody tells what the client has read. */
const NETWORK_MS = 10;

/**
 * The time between an answer's head and the first byte of the stream that follows it. Clients made of an HTTP library
 * (docker-py is one) take the socket from below the library's buffer, and lose what a single read put there with the
 * head. Which of the bytes a client has read is known of Unix sockets; on others the stream just comes a bit later.
 */
export class HeadWait {
  readonly #fd: number;
  readonly #isLocal: boolean;
  readonly #since = performance.now();

  /** `fd` is a socket to which the head was just written, and stays open as long as `isOver` is asked. */
  constructor(fd: number) {
    this.#fd = fd;
    this.#isLocal = isUnixSocket(fd);
  }

  isOver(): boolean {
    const waited = performance.now() - this.#since;
    if (!this.#isLocal) return waited >= NETWORK_MS;
    return waited >= MOST_MS || unsentBytes(this.#fd) === 0;
  }
}

/** Resolves when the stream may follow the head that was just written to `socket`; at once for TLS and the like. */
export async function headRead(socket: Duplex): Promise<void> {
  let wait: HeadWait | undefined;
  for (;;) {
    // The descriptor goes when the client does.
    const fd = descriptorOf(socket);
    if (fd === undefined) return;
    wait ??= new HeadWait(fd);
    if (socket.writableLength === 0 && wait.isOver()) return;
    await sleep(HEAD_POLL_MS);
  }
}

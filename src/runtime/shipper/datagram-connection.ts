import { createSocket, type Socket } from "node:dgram";
import { closeSync } from "node:fs";
import { isIP } from "node:net";
import { hasCode } from "../../base/errors.ts";
import { connectUnixDatagram } from "../../kernel/datagram.ts";
import { sendBytes, sendFds } from "../../kernel/descriptor.ts";
import { Readiness } from "../../kernel/readiness.ts";
import { sealedBytes } from "../../kernel/sealed-file.ts";
import { dialError } from "./dial-error.ts";

/** Sends datagrams to a Unix socket, and waits while its receiver is full. */
export class UnixDatagrams {
  readonly #path: string;
  readonly #fd: number;
  readonly #readiness: Readiness;
  #writable: (() => void) | undefined;
  #isBroken = false;

  constructor(path: string) {
    try {
      this.#fd = connectUnixDatagram(path);
    } catch (error) {
      throw dialError("unixgram", path, error);
    }
    this.#path = path;
    this.#readiness = new Readiness(this.#fd, () => {
      this.#readiness.watch(false, false);
      this.#writable?.();
    });
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** One datagram. What is too large for one goes as a sealed file in memory if `asFile`, as journald takes it. */
  async send(bytes: Uint8Array, signal: AbortSignal, asFile = false): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      try {
        if (sendBytes(this.#fd, bytes) >= 0) return;
      } catch (error) {
        if (asFile && hasCode(error, "EMSGSIZE")) {
          if (this.#sendFile(bytes)) return;
        } else if (!hasCode(error, "ENOBUFS")) {
          this.#isBroken = true;
          throw dialError("unixgram", this.#path, error);
        }
      }
      await this.#room(signal);
    }
  }

  close(): void {
    this.#readiness.close();
    closeSync(this.#fd);
    this.#writable?.();
  }

  #sendFile(bytes: Uint8Array): boolean {
    const file = sealedBytes(bytes, "journal-entry");
    try {
      return sendFds(this.#fd, new Uint8Array(), [file]) >= 0;
    } finally {
      closeSync(file);
    }
  }

  async #room(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#writable = resolve;
    // A receiver that left shows at the next try, but does not always wake whoever waits for room.
    const timer = setTimeout(resolve, 200);
    signal.addEventListener("abort", () => resolve(), { once: true });
    this.#readiness.watch(false, true);
    await promise;
    clearTimeout(timer);
    this.#writable = undefined;
  }
}

/** Sends datagrams by UDP. That nobody listens is learnt late and only on the way back: see `isBroken`. */
export class UdpDatagrams {
  readonly #socket: Socket;
  #error: Error | undefined;

  private constructor(socket: Socket, place: string) {
    this.#socket = socket;
    socket.on("error", (error) => {
      this.#error ??= dialError("udp", place, error);
    });
  }

  static async open(host: string, port: number): Promise<UdpDatagrams> {
    const socket = createSocket(isIP(host) === 6 ? "udp6" : "udp4");
    socket.unref();
    const place = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    return await new Promise((resolve, reject) => {
      socket.once("error", (error) => {
        socket.close();
        reject(dialError("udp", place, error));
      });
      socket.connect(port, host, () => {
        socket.removeAllListeners("error");
        resolve(new UdpDatagrams(socket, place));
      });
    });
  }

  get isBroken(): boolean {
    return this.#error !== undefined;
  }

  async send(bytes: Uint8Array): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    await new Promise<void>((resolve, reject) => {
      this.#socket.send(bytes, (error) => {
        if (error === null || error === undefined) resolve();
        else {
          this.#error ??= error;
          reject(error);
        }
      });
    });
  }

  close(): void {
    this.#socket.close();
  }
}

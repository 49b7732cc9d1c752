import { readFileSync } from "node:fs";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { messageOf } from "../../base/errors.ts";
import { unsentBytes } from "../../kernel/descriptor.ts";
import type { ServiceAddress, TlsFiles } from "../shipment.ts";
import { dialError, handshakeError } from "./dial-error.ts";

const CONNECT_MS = 10_000;
const MOST_RECEIVED = 64 * 1024;
const MOST_POLL_MS = 20;
const LINGER_MS = 5_000;

/** A stream socket whose writes resolve when the peer's kernel has acknowledged them, so that little is unknown. */
export class StreamConnection {
  readonly #raw: Socket;
  readonly #socket: Socket | TLSSocket;
  #error: Error | undefined;
  /** What came from the other side and was not taken. */
  #received: Buffer = Buffer.alloc(0);
  readonly #closed = Promise.withResolvers<void>();
  #wake: (() => void) | undefined;

  private constructor(raw: Socket, socket: Socket | TLSSocket) {
    this.#raw = raw;
    this.#socket = socket;
    const end = (error?: Error): void => {
      this.#error ??= error ?? new Error("the connection was closed by the log service");
      socket.destroy();
      raw.destroy();
      this.#closed.resolve();
      this.#wake?.();
    };
    socket.on("error", end);
    socket.on("close", () => end());
    socket.on("end", () => end());
    socket.on("data", (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]).subarray(-MOST_RECEIVED);
      this.#wake?.();
    });
  }

  static async open(address: ServiceAddress, signal: AbortSignal): Promise<StreamConnection> {
    const isUnix = "path" in address;
    const place = isUnix ? address.path : `${bracketed(address.host)}:${address.port}`;
    const options = isUnix ? { path: address.path } : { host: address.host, port: address.port };
    const raw = await open(options, signal).catch((error: unknown) => {
      throw dialError(isUnix ? "unix" : "tcp", place, error);
    });
    if (isUnix || address.tls === undefined) return new StreamConnection(raw, raw);
    try {
      return new StreamConnection(raw, await secure(raw, address.host, address.tls, signal));
    } catch (error) {
      raw.destroy();
      throw error;
    }
  }

  get isBroken(): boolean {
    return this.#error !== undefined;
  }

  /** Resolves when the peer has taken all. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const taken = new Promise<void>((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
    await this.#unlessOver(taken, signal);
    for (let pause = 0; this.#unsent() > 0; pause = Math.min(MOST_POLL_MS, pause + 1)) {
      await this.#unlessOver(pause < 2 ? turn() : delay(pause), signal);
    }
    if (this.#error !== undefined) throw this.#error;
  }

  /** What came so far, and more at each call, until `take` finds in it what it looks for. */
  async read<T>(take: (bytes: Buffer) => { value: T; size: number } | undefined, signal: AbortSignal): Promise<T> {
    for (;;) {
      const found = take(this.#received);
      if (found !== undefined) {
        this.#received = this.#received.subarray(found.size);
        return found.value;
      }
      if (this.#error !== undefined) throw this.#error;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await this.#unlessOver(promise, signal);
    }
  }

  close(): void {
    this.#socket.destroy();
    this.#raw.destroy();
  }

  /** Lets what was written arrive, and closes when the other side has closed, or a while later. */
  end(): void {
    this.#socket.end();
    setTimeout(() => this.close(), LINGER_MS).unref();
  }

  #unsent(): number {
    if (this.#error !== undefined) throw this.#error;
    const fd = (this.#raw as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
    return fd < 0 ? 0 : unsentBytes(fd);
  }

  async #unlessOver(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    const abort = (): void => resolve();
    signal.addEventListener("abort", abort);
    work.catch(() => undefined);
    try {
      if (!signal.aborted) await Promise.race([work, aborted, this.#closed.promise]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
    signal.throwIfAborted();
    if (this.#error !== undefined) throw this.#error;
  }
}

function open(options: NetConnectOpts, signal: AbortSignal): Promise<Socket> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS)]);
  return new Promise((resolve, reject) => {
    const socket = connect({ ...options, noDelay: true, keepAlive: true } as NetConnectOpts);
    const abort = (): void => {
      socket.destroy();
      reject(Object.assign(new Error("i/o timeout"), { code: "ETIMEDOUT" }));
    };
    limit.addEventListener("abort", abort);
    if (limit.aborted) abort();
    socket.once("error", reject);
    socket.once("connect", () => {
      limit.removeEventListener("abort", abort);
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

async function secure(raw: Socket, host: string, files: TlsFiles, signal: AbortSignal): Promise<TLSSocket> {
  const { connect: connectTls, getCACertificates } = await import("node:tls");
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS)]);
  const socket = connectTls({
    socket: raw,
    servername: /^[\d.]+$|:/.test(host) ? "" : host,
    host,
    minVersion: "TLSv1.2",
    rejectUnauthorized: !files.skipVerify,
    ca: files.ca === "" ? getCACertificates("system") : readPem("CA certificate", files.ca),
    ...(files.cert === "" ? {} : { cert: readPem("X509 certificate", files.cert) }),
    ...(files.key === "" ? {} : { key: readPem("key", files.key) }),
  });
  return await new Promise((resolve, reject) => {
    const abort = (): void => void socket.destroy(new Error("tls: handshake timeout"));
    limit.addEventListener("abort", abort);
    socket.once("error", (error) => reject(handshakeError(error)));
    socket.once("close", () => reject(new Error("tls: the service closed the connection")));
    socket.once("secureConnect", () => {
      limit.removeEventListener("abort", abort);
      socket.removeAllListeners("error");
      socket.removeAllListeners("close");
      resolve(socket);
    });
  });
}

function readPem(what: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === "ENOENT" ? "no such file or directory" : messageOf(error);
    throw new Error(`could not read ${what} "${path}": open ${path}: ${why}`, { cause: error });
  }
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

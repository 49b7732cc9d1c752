import type { Connection, ConnectionEvents } from "./connection.ts";

/** What is used of Bun's own sockets. */
export interface NativeSocket {
  /** How many bytes were taken; negative once it is closed. */
  write(data: Uint8Array): number;
  shutdown(): void;
  terminate(): void;
  pause(): void;
  resume(): void;
}

interface NativeHandlers {
  data(socket: NativeSocket, chunk: Buffer): void;
  drain(socket: NativeSocket): void;
  end(socket: NativeSocket): void;
  close(socket: NativeSocket, error?: Error): void;
  error(socket: NativeSocket, error: Error): void;
}

export interface BunSockets {
  connect(options: {
    readonly unix: string;
    readonly allowHalfOpen: boolean;
    readonly socket: NativeHandlers;
  }): Promise<NativeSocket>;
}

/** Bun's sockets where this runs on Bun. */
export function bunSockets(): BunSockets | undefined {
  return (globalThis as { readonly Bun?: BunSockets }).Bun;
}

/** As of a Node socket. */
const HIGH_WATER = 64 * 1024;

/** Connects to a unix socket. Rejects with an error as Node's. */
export async function connectUnix(sockets: BunSockets, path: string): Promise<Connection> {
  const connection = new BunSocket();
  try {
    connection.open(await sockets.connect({ unix: path, allowHalfOpen: true, socket: connection.handlers }));
  } catch (error) {
    const { code = "EIO" } = error as NodeJS.ErrnoException;
    throw Object.assign(new Error(`connect ${code} ${path}`, { cause: error }), { code });
  }
  return connection;
}

type Listeners = { readonly [E in keyof ConnectionEvents]: Set<ConnectionEvents[E]> };

/** Bun's own socket as a `Connection`: node:net and the streams under it take longer to load than most commands run. */
class BunSocket implements Connection {
  readonly #listeners: Listeners = {
    data: new Set(),
    drain: new Set(),
    end: new Set(),
    error: new Set(),
    close: new Set(),
  };
  #native: NativeSocket | undefined;
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #corked = false;
  #needsDrain = false;
  #ending = false;
  #destroyed = false;
  #closed = false;
  #announced = false;
  #isReading = true;
  #flow: "undecided" | "paused" | "flowing" = "undecided";
  /** What came while nobody wanted it, in order. */
  readonly #held: (Buffer | "end")[] = [];

  readonly handlers: NativeHandlers = {
    data: (_, chunk) => this.#arrive(chunk),
    end: () => this.#arrive("end"),
    drain: () => this.#send(),
    error: (_, error) => this.destroy(error),
    close: (_, error) => {
      if (!this.#destroyed) this.#close(error);
    },
  };

  open(native: NativeSocket): void {
    this.#native = native;
    if (this.#flow !== "flowing") this.#read(false);
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  get writableLength(): number {
    return this.#unsentBytes;
  }

  write(data: Uint8Array | string): boolean {
    if (this.#destroyed || this.#ending) return false;
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    this.#unsent.push(bytes);
    this.#unsentBytes += bytes.length;
    if (!this.#corked) this.#send();
    this.#needsDrain ||= this.#unsentBytes >= HIGH_WATER;
    return !this.#needsDrain;
  }

  cork(): void {
    this.#corked = true;
  }

  uncork(): void {
    this.#corked = false;
    this.#send();
  }

  end(): void {
    this.#ending = true;
    this.#send();
  }

  destroy(error?: Error): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#held.length = 0;
    this.#native?.terminate();
    // As of Node's streams, never before the caller has gone on.
    queueMicrotask(() => this.#close(error));
  }

  pause(): void {
    this.#flow = "paused";
    this.#read(false);
  }

  resume(): void {
    this.#flow = "flowing";
    queueMicrotask(() => this.#deliver());
  }

  isPaused(): boolean {
    return this.#flow === "paused";
  }

  on<E extends keyof ConnectionEvents>(event: E, listener: ConnectionEvents[E]): void {
    (this.#listeners[event] as Set<ConnectionEvents[E]>).add(listener);
    if (event === "data" && this.#flow === "undecided") this.resume();
  }

  once<E extends keyof ConnectionEvents>(event: E, listener: ConnectionEvents[E]): void {
    const call = listener as (value?: unknown) => void;
    const first = (value?: unknown): void => {
      this.off(event, first as ConnectionEvents[E]);
      call(value);
    };
    this.on(event, first as ConnectionEvents[E]);
  }

  off<E extends keyof ConnectionEvents>(event: E, listener: ConnectionEvents[E]): void {
    (this.#listeners[event] as Set<ConnectionEvents[E]>).delete(listener);
  }

  #arrive(piece: Buffer | "end"): void {
    if (this.#destroyed) return;
    this.#held.push(piece);
    this.#deliver();
  }

  /** Hands on what is there until somebody pauses. */
  #deliver(): void {
    while (this.#flow === "flowing" && !this.#destroyed) {
      const piece = this.#held.shift();
      if (piece === undefined) {
        if (this.#closed) this.#announceClose();
        else this.#read(true);
        return;
      }
      if (piece === "end") for (const listener of [...this.#listeners.end]) listener();
      else for (const listener of [...this.#listeners.data]) listener(piece);
    }
  }

  #read(isReading: boolean): void {
    const native = this.#native;
    if (native === undefined || this.#destroyed || this.#isReading === isReading) return;
    this.#isReading = isReading;
    if (isReading) native.resume();
    else native.pause();
  }

  #send(): void {
    const native = this.#native;
    if (native === undefined || this.#destroyed || this.#corked) return;
    // One call for small pieces that came together, and no copy of large ones.
    if (this.#unsent.length > 1 && this.#unsentBytes < HIGH_WATER) this.#unsent = [Buffer.concat(this.#unsent)];
    for (let piece = this.#unsent[0]; piece !== undefined; piece = this.#unsent[0]) {
      const taken = Math.max(0, native.write(piece));
      this.#unsentBytes -= taken;
      if (taken < piece.length) {
        this.#unsent[0] = piece.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#ending) native.shutdown();
    if (!this.#needsDrain) return;
    this.#needsDrain = false;
    queueMicrotask(() => {
      for (const listener of [...this.#listeners.drain]) listener();
    });
  }

  /** The other side has closed it, or this one has: what came before is still heard first. */
  #close(error: Error | undefined): void {
    if (error !== undefined) {
      this.#destroyed = true;
      for (const listener of [...this.#listeners.error]) listener(error);
    }
    if (this.#closed) return;
    this.#closed = true;
    if (this.#destroyed || this.#held.length === 0) this.#announceClose();
  }

  #announceClose(): void {
    this.#destroyed = true;
    if (this.#announced) return;
    this.#announced = true;
    for (const listener of [...this.#listeners.close]) listener();
  }
}

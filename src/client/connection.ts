/** What is used of a connection: a subset of Node's Duplex, which is one. */
export interface Connection {
  readonly destroyed: boolean;
  readonly writableLength: number;
  /** False when what is not sent yet is so much that the caller should wait for `drain`. */
  write(data: Uint8Array | string): boolean;
  cork(): void;
  uncork(): void;
  /** Ends the own direction when all is sent; the other goes on. */
  end(): unknown;
  /** With an error listeners hear of it before `close`. */
  destroy(error?: Error): unknown;
  /** Bytes come from the first `data` listener on, unless it was paused before. */
  pause(): unknown;
  resume(): unknown;
  isPaused(): boolean;
  on<E extends keyof ConnectionEvents>(event: E, listener: ConnectionEvents[E]): unknown;
  once<E extends keyof ConnectionEvents>(event: E, listener: ConnectionEvents[E]): unknown;
  off<E extends keyof ConnectionEvents>(event: E, listener: ConnectionEvents[E]): unknown;
}

export interface ConnectionEvents {
  readonly data: (chunk: Buffer) => void;
  readonly drain: () => void;
  /** The other side has ended its direction. */
  readonly end: () => void;
  readonly error: (error: Error) => void;
  readonly close: () => void;
}

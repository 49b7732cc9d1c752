/** A line on its way out, or a piece of 16 KiB of a longer one. */
export interface ShippedLine {
  readonly stream: 1 | 2;
  readonly timeNano: bigint;
  /** Without its newline. */
  readonly data: Buffer;
  readonly part: LinePart | undefined;
}

/** Which piece of which line, as Docker numbers them. */
export interface LinePart {
  readonly id: string;
  readonly ordinal: number;
  readonly isLast: boolean;
}

/** The connection to one log service. After an error it is closed, and another one is made. */
export interface LogSender {
  /** Reaches the service. Rejects with the reason in Docker's words; an abort rejects promptly, here and below. */
  connect(signal: AbortSignal): Promise<void>;
  /** Hands lines over. Resolves when the other side has them, as far as its protocol lets one know. */
  send(lines: readonly ShippedLine[], signal: AbortSignal): Promise<void>;
  /** True if `send` knows that they were taken; else what was sent just before a connection broke is sent again. */
  readonly isCertain: boolean;
  /** True once the other side has gone. */
  readonly isBroken: boolean;
  close(): void;
}

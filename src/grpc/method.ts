/** Makes bytes of a value and back. */
export interface Codec<T> {
  encode(value: T): Uint8Array;
  /** Throws if they are none. The bytes may be of a bigger buffer that is held as long as the value holds on to them. */
  decode(bytes: Buffer): T;
}

/** What can be called: by both sides of a connection, of whatever its messages are made. */
export interface Method<I, O> {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly request: Codec<I>;
  readonly response: Codec<O>;
}

import { GrpcError, STATUS } from "./status.ts";

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

/** Throws a GrpcError for bytes that are none. */
export function decoded<T>(codec: Codec<T>, bytes: Buffer, what: "request" | "response"): T {
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw new GrpcError(STATUS.internal, `grpc: error unmarshalling ${what}: ${(error as Error).message}`);
  }
}

import type { Codec, Method } from "../grpc/method.ts";
import { decode, encode, type Schema } from "./message.ts";

type Rows = Readonly<Record<string, readonly [name: string, request: Schema<never>, response: Schema<never>]>>;
type Of<S> = S extends Schema<infer T> ? T : never;

type Methods<R> = {
  readonly [K in keyof R]: R[K] extends readonly [string, infer I, infer O] ? Method<Of<I>, Of<O>> : never;
};

/** What a service can be asked: its methods' names on the wire, and their messages. */
export function service<const R extends Readonly<Record<string, readonly [string, unknown, unknown]>>>(
  name: string,
  rows: R,
): Methods<R> {
  const methods = Object.entries(rows as unknown as Rows).map(([key, [method, request, response]]) => [
    key,
    { path: `/${name}/${method}`, request: codecOf(request), response: codecOf(response) },
  ]);
  return Object.fromEntries(methods) as Methods<R>;
}

function codecOf<T>(schema: Schema<T>): Codec<T> {
  return { encode: (value) => encode(schema, value), decode: (bytes) => decode(schema, bytes) };
}

import type { Duplex } from "node:stream";
import { GantryError } from "../base/errors.ts";

/** Bodies of requests that ask for an upgrade: the HTTP parser has left, so they are read off the socket here. */

/** A hijacking request's body is a few options; more than this is refused. */
const LIMIT = 1024 * 1024;
const IDLE_MS = 30_000;

export interface RawBody {
  readonly body: Buffer;
  /** What the client sent after it. */
  readonly rest: Buffer;
}

/** Reads the body that the headers announce, beginning with `head`. Throws invalid on a broken or overlong one. */
export async function readRawBody(
  socket: Duplex,
  head: Buffer,
  headers: { readonly "content-length"?: string; readonly "transfer-encoding"?: string },
): Promise<RawBody> {
  const source = new Source(socket, head);
  const body = headers["transfer-encoding"] !== undefined ? await chunked(source) : await sized(source, headers);
  return { body, rest: source.rest() };
}

async function sized(source: Source, headers: { readonly "content-length"?: string }): Promise<Buffer> {
  const length = Number(headers["content-length"] ?? 0);
  if (length > LIMIT) throw tooLarge();
  return source.take(length);
}

async function chunked(source: Source): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let total = 0;
  for (;;) {
    const size = /^([0-9a-f]{1,8})[ \t]*(?:;.*)?$/i.exec(await source.line())?.[1];
    if (size === undefined) throw new GantryError("invalid", "malformed chunked encoding");
    const length = Number.parseInt(size, 16);
    if (length === 0) break;
    total += length;
    if (total > LIMIT) throw tooLarge();
    pieces.push(await source.take(length));
    if ((await source.line()) !== "") throw new GantryError("invalid", "malformed chunked encoding");
  }
  for (let trailers = 0; (await source.line()) !== ""; trailers++) {
    if (trailers > 100) throw new GantryError("invalid", "malformed chunked encoding");
  }
  return Buffer.concat(pieces);
}

function tooLarge(): GantryError {
  return new GantryError("invalid", "http: request body too large");
}

class Source {
  readonly #socket: Duplex;
  #buffer: Buffer;

  constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket;
    this.#buffer = head;
  }

  async take(length: number): Promise<Buffer> {
    const pieces = [this.#buffer];
    let have = this.#buffer.length;
    while (have < length) {
      const more = await this.#more();
      pieces.push(more);
      have += more.length;
    }
    const all = Buffer.concat(pieces);
    this.#buffer = all.subarray(length);
    return all.subarray(0, length);
  }

  async line(): Promise<string> {
    for (;;) {
      const end = this.#buffer.indexOf("\r\n");
      if (end >= 0 && end <= 4096) {
        const line = this.#buffer.toString("latin1", 0, end);
        this.#buffer = this.#buffer.subarray(end + 2);
        return line;
      }
      if (this.#buffer.length > 4096) throw new GantryError("invalid", "malformed chunked encoding");
      this.#buffer = Buffer.concat([this.#buffer, await this.#more()]);
    }
  }

  rest(): Buffer {
    return this.#buffer;
  }

  #more(): Promise<Buffer> {
    const socket = this.#socket;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const attempt = () => {
      const chunk = socket.read() as Buffer | null;
      if (chunk !== null) resolve(chunk);
    };
    const gone = () => reject(new GantryError("invalid", "invalid JSON: got EOF while reading request body"));
    const timer = setTimeout(gone, IDLE_MS);
    socket.on("readable", attempt).once("end", gone).once("close", gone);
    if (socket.destroyed || socket.readableEnded) gone();
    else attempt();
    return promise.finally(() => {
      clearTimeout(timer);
      socket.off("readable", attempt).off("end", gone).off("close", gone);
    });
  }
}

import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { cancelOnAbort } from "../base/abort.ts";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { UnreachableError } from "./failure.ts";
import { Tap } from "./tap.ts";

const MOST_DISCARDED = 64 << 10;
const DISCARD_MS = 2000;

/** What HTTP itself may take beside a body: chunks have their lengths written before them. */
const FREE_FRAMING = 256 << 10;
const MOST_FRAMING = 1.25;

/** Throws for a body that comes in crumbs, as chunks can: each takes the processor as long as ten thousand bytes do. */
class Crumbs {
  readonly #body: IncomingMessage;
  readonly #what: string;
  readonly #before: number;
  #bytes = 0;

  constructor(body: IncomingMessage, what: string) {
    this.#body = body;
    this.#what = what;
    this.#before = body.socket.bytesRead;
  }

  took({ length }: Uint8Array): void {
    this.#bytes += length;
    const { headers, socket } = this.#body;
    const all = socket.bytesRead - this.#before;
    if (headers["transfer-encoding"] === undefined || !(all > FREE_FRAMING + MOST_FRAMING * this.#bytes)) return;
    throw new GantryError("invalid", `cannot read ${this.#what}: it is sent in chunks of next to nothing`);
  }
}

/** Reads a whole body of at most `limit` bytes within `timeMs`; `what` names it in refusals. */
export async function readDocument(
  body: IncomingMessage,
  what: string,
  options: { readonly limit: number; readonly timeMs: number; readonly signal?: AbortSignal | undefined },
): Promise<Buffer> {
  const tooLong = (): GantryError =>
    new GantryError("invalid", `cannot read ${what}: it is longer than ${options.limit} bytes`);
  using _cancel = cancelOnAbort(options.signal, body);
  if (Number(body.headers["content-length"] ?? 0) > options.limit) {
    body.destroy();
    throw tooLong();
  }
  const late = broken(what, "it did not arrive in time");
  const timer = setTimeout(() => body.destroy(late), options.timeMs);
  const pieces: Buffer[] = [];
  const crumbs = new Crumbs(body, what);
  let total = 0;
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      total += piece.length;
      if (total > options.limit) throw tooLong();
      crumbs.took(piece);
      pieces.push(piece);
    }
  } catch (error) {
    throw unreadable(what, error);
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
  return decoded(Buffer.concat(pieces), body.headers["content-encoding"], what, options.limit);
}

/** Undoes a compression that nobody asked for; some servers between us and a registry add it to whatever is text. */
async function decoded(bytes: Buffer, coding: string | undefined, what: string, limit: number): Promise<Buffer> {
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (!isPacked || !/^\s*(x-)?gzip\s*$/i.test(coding ?? "")) return bytes;
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: limit });
  } catch (error) {
    const why = hasCode(error, "ERR_BUFFER_TOO_LARGE") ? `it is longer than ${limit} bytes` : messageOf(error);
    throw new GantryError("invalid", `cannot read ${what}: ${why}`, { cause: error });
  }
}

/** Reads away the little that an unwanted answer holds, so that its connection serves again; a long one ends with it. */
export function discard(body: IncomingMessage): void {
  let left = MOST_DISCARDED;
  const timer = setTimeout(() => body.destroy(), DISCARD_MS);
  body.on("error", () => {});
  body.once("close", () => clearTimeout(timer));
  body.on("data", (piece: Buffer) => {
    left -= piece.length;
    if (left < 0) body.destroy();
  });
}

/** A failure while a body is read, as whoever asked for it is told. */
function unreadable(what: string, error: unknown): GantryError {
  if (error instanceof GantryError) return error;
  return broken(what, hasCode(error, "ECONNRESET", "EPIPE") ? "unexpected EOF" : messageOf(error), error);
}

function broken(what: string, why: string, cause?: unknown): UnreachableError {
  return new UnreachableError(`cannot read ${what}: ${why}`, { kind: "unavailable", isPassing: true, cause });
}

/**
 * The pieces of a body as they come; fails if the next one takes longer than `idleMs` while it is waited for. Who is
 * done with a piece may give it back as a slab.
 */
export async function* readPieces(
  body: IncomingMessage,
  what: string,
  options: { readonly idleMs: number; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Buffer> {
  using _cancel = cancelOnAbort(options.signal, body);
  const late = broken(what, "nothing more arrived in time");
  const crumbs = new Crumbs(body, what);
  let isWaiting = true;
  const timer = setTimeout(() => {
    if (isWaiting) body.destroy(late);
  }, options.idleMs);
  try {
    for await (const piece of piecesOf(body)) {
      // A reader may take its time: only the registry's is counted.
      isWaiting = false;
      crumbs.took(piece);
      yield piece;
      isWaiting = true;
      timer.refresh();
    }
  } catch (error) {
    throw unreadable(what, error);
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
}

async function* piecesOf(body: IncomingMessage): AsyncGenerator<Buffer> {
  const tapped = Tap.body(body);
  if (tapped === undefined) {
    yield* body as AsyncIterable<Buffer>;
    return;
  }
  for (let piece = await tapped.next(); piece !== undefined; piece = await tapped.next()) yield piece;
}

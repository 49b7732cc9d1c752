import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { GantryError } from "../base/errors.ts";
import type { Hijack } from "../containers/controller.ts";

/** A message of a client is held whole before any of it is input. */
const MESSAGE_LIMIT = 1024 * 1024;

const server = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: MESSAGE_LIMIT,
});

export interface WebSocketTaking {
  readonly message: IncomingMessage;
  readonly socket: Socket;
  readonly rest: Buffer;
  /** Frames of text instead of bytes, as clients of before API 1.28 read them. */
  readonly text: boolean;
  readonly onTaken: () => void;
}

/** Refuses what is no handshake of RFC 6455. Throws invalid. */
function checkHandshake({ headers }: IncomingMessage): void {
  const isKey = /^[+/0-9A-Za-z]{22}==$/.test(headers["sec-websocket-key"] ?? "");
  const version = headers["sec-websocket-version"];
  if (headers.upgrade?.toLowerCase() !== "websocket" || !isKey || (version !== "13" && version !== "8")) {
    throw new GantryError("invalid", "a WebSocket handshake of version 13 is expected here");
  }
}

/**
 * Gives the session a stream whose other end is a WebSocket: messages are input, output becomes messages. Both kinds
 * of output go out as they are: a WebSocket's client has never been told which is which. What is no handshake is
 * refused as invalid.
 */
export function webSocketHijack(taking: WebSocketTaking): Hijack {
  return ({ multiplexed }) => {
    const { message, socket, rest, text, onTaken } = taking;
    checkHandshake(message);
    onTaken();
    let stream: WebSocketStream | undefined;
    server.handleUpgrade(message, socket, rest, (client) => {
      stream = new WebSocketStream(client, { text, multiplexed });
    });
    // The handshake was checked and the connection is there, so the client came at once.
    if (stream === undefined) throw new GantryError("cancelled", "the client has closed the connection");
    return { socket: stream, head: new Uint8Array(), preamble: new Uint8Array() };
  };
}

class WebSocketStream extends Duplex {
  readonly #client: WebSocket;
  readonly #frames: FrameReader | undefined;
  readonly #text: StringDecoder | undefined;

  constructor(client: WebSocket, options: { readonly text: boolean; readonly multiplexed: boolean }) {
    super({ allowHalfOpen: true });
    this.#client = client;
    this.#frames = options.multiplexed ? new FrameReader() : undefined;
    this.#text = options.text ? new StringDecoder("utf8") : undefined;
    client.on("message", (data: RawData) => {
      // The server's `binaryType` is a Node buffer, for text as well.
      const bytes = data as Buffer;
      if (bytes.length > 0 && !this.push(bytes)) client.pause();
    });
    client.on("error", () => this.destroy());
    client.on("close", () => {
      // Input that is on its way is still taken; then nobody is left to write to.
      this.once("end", () => this.destroy());
      this.push(null);
    });
  }

  override _read(): void {
    if (this.#client.isPaused) this.#client.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    const bytes = this.#frames === undefined ? chunk : this.#frames.payload(chunk);
    const piece = this.#text === undefined ? bytes : this.#text.write(bytes);
    if (piece.length === 0 || this.#client.readyState !== this.#client.OPEN) done();
    else this.#client.send(piece, { binary: this.#text === undefined }, () => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    const last = this.#text?.end() ?? "";
    if (last !== "" && this.#client.readyState === this.#client.OPEN) this.#client.send(last);
    // A client that doesn't answer the close is cut off by the library's own time limit.
    this.#client.close(1000);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#client.terminate();
    done(error);
  }
}

const HEADER_BYTES = 8;

/** Takes the headers out of a multiplexed stream, which may be cut anywhere. */
export class FrameReader {
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #left = 0;

  /** The payload that is in `chunk`. */
  payload(chunk: Buffer): Buffer {
    const pieces: Buffer[] = [];
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const piece = chunk.subarray(at, at + this.#left);
        pieces.push(piece);
        at += piece.length;
        this.#left -= piece.length;
        continue;
      }
      const taken = chunk.copy(this.#header, this.#headerBytes, at, at + HEADER_BYTES - this.#headerBytes);
      at += taken;
      this.#headerBytes += taken;
      if (this.#headerBytes < HEADER_BYTES) break;
      this.#left = this.#header.readUInt32BE(4);
      this.#headerBytes = 0;
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }
}

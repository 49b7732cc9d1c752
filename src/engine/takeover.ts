import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { compareVersions, MULTIPLEXED_STREAM, RAW_STREAM } from "../api/version.ts";
import type { Hijack, HijackedConnection } from "../containers/controller.ts";

/**
 * Taking a connection from the HTTP server. With `Upgrade: tcp` the parser has left the socket by itself; without it
 * (older clients, which just send the request and then talk) it has to be made to leave.
 */

/** Bytes that came in one packet with a plain request and made the parser fail: the session's first input. */
const early = new WeakMap<object, Buffer>();

/** True if the socket waits to be hijacked and the parser's error is only that what follows is no HTTP. */
export function keepEarlyInput(socket: object, packet: Buffer | undefined): boolean {
  const length = waiting.get(socket);
  if (length === undefined) return false;
  const end = packet?.indexOf("\r\n\r\n") ?? -1;
  if (packet !== undefined && end >= 0) early.set(socket, packet.subarray(end + 4 + length));
  return true;
}

/** Sockets of plain requests that may be hijacked, with the length of the request's body. */
const waiting = new WeakMap<object, number>();

/** To be called as soon as a request without an upgrade matched a route that hijacks. */
export function expectPlainHijack(request: IncomingMessage): void {
  if (request.headers["transfer-encoding"] !== undefined) return;
  waiting.set(request.socket, Number(request.headers["content-length"] ?? 0));
}

/** The plain request was answered after all: what follows is HTTP again. */
export function settlePlainHijack(request: IncomingMessage): void {
  waiting.delete(request.socket);
  // The parser gave up on what followed: nothing more can be read as a request.
  if (early.delete(request.socket)) request.socket.end();
}

/** `onTaken` is called before the connection is handed out. */
export function plainHijack(request: IncomingMessage, response: ServerResponse, onTaken: () => void): Hijack {
  return () => {
    onTaken();
    const socket = request.socket;
    response.detachSocket(socket);
    // The server's listener for the close stays: it frees the parser.
    for (const event of ["data", "end", "timeout", "error"]) socket.removeAllListeners(event);
    socket.on("error", ignore);
    // The parser reads from the descriptor by itself; Node makes it stop when somebody else wants to read.
    socket.on("readable", ignore);
    socket.off("readable", ignore);
    waiting.delete(socket);
    const head = Buffer.concat([early.get(socket) ?? Buffer.alloc(0), drain(socket)]);
    early.delete(socket);
    return { socket, head, preamble: Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: ${RAW_STREAM}\r\n\r\n`) };
  };
}

export function upgradeHijack(
  socket: Socket,
  head: Buffer,
  version: string,
  headers: Readonly<Record<string, string>>,
  onTaken: () => void,
): Hijack {
  return ({ multiplexed }): HijackedConnection => {
    onTaken();
    const type = multiplexed && compareVersions(version, "1.42") >= 0 ? MULTIPLEXED_STREAM : RAW_STREAM;
    const lines = [
      "HTTP/1.1 101 UPGRADED",
      `Content-Type: ${type}`,
      "Connection: Upgrade",
      "Upgrade: tcp",
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ];
    return {
      socket,
      head: Buffer.concat([head, drain(socket)]),
      preamble: Buffer.from(`${lines.join("\r\n")}\r\n\r\n`),
    };
  };
}

function drain(socket: Socket): Buffer {
  const pieces: Buffer[] = [];
  for (;;) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return Buffer.concat(pieces);
    pieces.push(chunk);
  }
}

/** A reset of a taken connection shows as its close; the error itself must only not be unheard. */
function ignore(): void {}

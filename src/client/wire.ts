import { drained } from "../base/drained.ts";
import { GantryError } from "../base/errors.ts";
import { VERSION } from "../base/version.ts";
import { ResponseBody } from "./body.ts";
import type { Connection } from "./connection.ts";
import { dial, explain } from "./dial.ts";
import type { Endpoint } from "./endpoint.ts";
import { framingOf, MAX_HEAD, parseHead } from "./head.ts";
import { tlsHint } from "./tls-failure.ts";

export interface WireRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** An iterable is sent in chunks, as fast as the engine takes it. */
  readonly body?: string | AsyncIterable<Uint8Array>;
  /** Asks for the connection itself, to speak this on it: `tcp` for no protocol in particular. */
  readonly hijack?: "tcp" | "h2c";
  readonly signal?: AbortSignal;
}

export interface WireResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ResponseBody;
  /** Set when a hijack was granted; `head` is what arrived after the headers, and the socket is paused. */
  readonly stream?: { readonly socket: Connection; readonly head: Buffer };
}

/**
 * One request on a connection of its own, and not by node:http: a compiled client starts milliseconds sooner, and
 * a hijacked stream is the plain socket in both runtimes. Throws `unavailable` when nobody answers.
 */
export async function exchange(endpoint: Endpoint, request: WireRequest): Promise<WireResponse> {
  request.signal?.throwIfAborted();
  const socket = await dial(endpoint);
  const abort = (): void => void socket.destroy(new GantryError("cancelled", "the request was cancelled"));
  request.signal?.addEventListener("abort", abort, { once: true });
  socket.on("close", () => request.signal?.removeEventListener("abort", abort));
  try {
    const head = readHead(socket, request, endpoint);
    socket.write(headText(endpoint, request));
    if (typeof request.body === "object") {
      // The answer may come before the body is through: an engine that refuses doesn't read it.
      const sent = sendChunks(socket, request.body);
      const first = await Promise.race([head, sent.then(() => undefined)]);
      return first ?? (await head);
    }
    return await head;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function headText(endpoint: Endpoint, request: WireRequest): string {
  const host =
    endpoint.kind !== "tcp"
      ? "gantry"
      : `${endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host}:${endpoint.port}`;
  let text = `${request.method} ${request.path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: Gantry-Client/${VERSION} (linux)\r\n`;
  for (const [name, value] of Object.entries(request.headers ?? {})) text += `${name}: ${value}\r\n`;
  text +=
    request.hijack === undefined ? "Connection: close\r\n" : `Connection: Upgrade\r\nUpgrade: ${request.hijack}\r\n`;
  if (typeof request.body === "object") return `${text}Transfer-Encoding: chunked\r\n\r\n`;
  if (typeof request.body === "string")
    return `${text}Content-Length: ${Buffer.byteLength(request.body)}\r\n\r\n${request.body}`;
  return `${text}${request.method === "GET" || request.method === "HEAD" ? "" : "Content-Length: 0\r\n"}\r\n`;
}

async function sendChunks(socket: Connection, body: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of body) {
    if (chunk.length === 0) continue;
    if (socket.destroyed) return;
    socket.cork();
    socket.write(`${chunk.length.toString(16)}\r\n`);
    socket.write(chunk);
    const more = socket.write("\r\n");
    socket.uncork();
    if (!more) await drained(socket);
  }
  if (!socket.destroyed) socket.write("0\r\n\r\n");
}

function readHead(socket: Connection, request: WireRequest, endpoint: Endpoint): Promise<WireResponse> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0);
    const stop = (): void => {
      socket.off("data", onData);
      socket.off("error", onError);
      socket.off("close", onClose);
      socket.off("end", onClose);
      // The next reader attaches its own listener; until then an error must not be unhandled.
      socket.on("error", () => {});
    };
    const fail = (error: Error): void => {
      stop();
      socket.destroy();
      reject(error);
    };
    const onError = (error: Error): void => fail(explain(endpoint, error));
    const garbled = (what: string): void =>
      fail(new GantryError("unavailable", `error during connect: ${endpoint.url}: ${what}${tlsHint(endpoint)}`));
    const onClose = (): void => garbled("EOF");
    const onData = (chunk: Buffer): void => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const end = held.indexOf("\r\n\r\n");
      if (!looksLikeHttp(held)) {
        garbled(`malformed HTTP response ${JSON.stringify(held.toString("latin1", 0, 64).split(/\r?\n/)[0])}`);
        return;
      }
      if (end === -1) {
        if (held.length > MAX_HEAD) fail(new GantryError("unavailable", "the engine's answer has too long a head"));
        return;
      }
      const head = parseHead(held.toString("latin1", 0, end));
      const framing = head === undefined ? undefined : framingOf(request.method, head);
      if (head === undefined || framing === undefined) {
        fail(new GantryError("unavailable", `malformed HTTP response from ${endpoint.url}`));
        return;
      }
      const rest = held.subarray(end + 4);
      if (head.status < 200 && head.status !== 101) {
        held = Buffer.from(rest);
        if (held.length > 0) onData(Buffer.alloc(0));
        return;
      }
      socket.pause();
      stop();
      if (request.hijack !== undefined && (head.status === 101 || head.status === 200)) {
        const none = new ResponseBody(new UnusedSocket() as unknown as Connection, { kind: "none" }, Buffer.alloc(0));
        resolve({ ...head, body: none, stream: { socket, head: rest } });
        return;
      }
      resolve({ ...head, body: new ResponseBody(socket, framing, rest) });
    };
    socket.on("data", onData);
    socket.on("error", onError);
    socket.on("close", onClose);
    socket.on("end", onClose);
  });
}

/** False as soon as what came can't be the beginning of an HTTP answer: whoever speaks first may then wait for us. */
function looksLikeHttp(held: Buffer): boolean {
  const begin = "HTTP/1.";
  const length = Math.min(begin.length, held.length);
  return held.toString("latin1", 0, length) === begin.slice(0, length);
}

/** Stands in for the connection in the empty body of a hijacked response, which owns none. */
class UnusedSocket {
  destroy(): void {}
}

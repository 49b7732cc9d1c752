import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer, request as httpsRequest, Agent as TlsAgent } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { pipeline } from "node:stream";
import type { Certified } from "./certificates.ts";

/** One request as it went through. Numbers grow while it goes on. */
export interface Recorded {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** 0 until the answer's head came. */
  status: number;
  /** Bytes of the request's and of the answer's body. */
  sent: number;
  received: number;
  isOver: boolean;
}

/** How both sides of a recording proxy speak TLS. */
export interface ProxyTls {
  /** Shown to clients. */
  readonly certificate: Certified;
  /** Clients must show a certificate of this authority, and this one is shown to the server behind. */
  readonly clients?: { readonly authority: string; readonly own: Certified };
}

/** What stands in front of a server and writes down what is asked of it. */
export class RecordingProxy implements AsyncDisposable {
  readonly host: string;
  readonly requests: Recorded[] = [];
  readonly #server: Server & { closeAllConnections(): void };

  private constructor(server: Server & { closeAllConnections(): void }, address: string) {
    this.#server = server;
    this.host = `${address}:${(server.address() as AddressInfo).port}`;
  }

  /** `upstream` is `http(s)://host:port`; https where TLS is given. Its certificate isn't checked: it is the test's own. */
  static async start(upstream: string, tls?: ProxyTls, address = "127.0.0.1"): Promise<RecordingProxy> {
    const own = tls?.clients?.own;
    const agent =
      tls === undefined
        ? new Agent({ keepAlive: true })
        : new TlsAgent({ keepAlive: true, rejectUnauthorized: false, cert: own?.cert, key: own?.key });
    const recorded: { take?: (request: Recorded) => void } = {};
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      const row: Recorded = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        status: 0,
        sent: 0,
        received: 0,
        isOver: false,
      };
      recorded.take?.(row);
      forward(upstream, agent, { request, response, row });
    };
    const server = tls === undefined ? createServer(listener) : createTlsServer(serverOptions(tls), listener);
    server.on("clientError", (_error, socket) => socket.destroy());
    server.on("tlsClientError", () => {});
    server.once("close", () => agent.destroy());
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, address, resolve);
    });
    const proxy = new RecordingProxy(server, address);
    recorded.take = (row) => proxy.requests.push(row);
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}

function serverOptions({ certificate, clients }: ProxyTls): object {
  const { cert, key } = certificate;
  return { cert, key, ...(clients !== undefined && { requestCert: true, ca: clients.authority }) };
}

function forward(
  upstream: string,
  agent: Agent,
  { request, response, row }: { request: IncomingMessage; response: ServerResponse; row: Recorded },
): void {
  // The Host header goes along: a registry writes its Location headers by it.
  const options = { method: row.method, headers: request.headers };
  const url = new URL(row.path, upstream);
  const call =
    url.protocol === "https:" ? httpsRequest(url, { ...options, agent }) : httpRequest(url, { ...options, agent });
  call.once("response", (answer) => {
    row.status = answer.statusCode ?? 0;
    response.writeHead(row.status, answer.statusMessage, answer.rawHeaders);
    answer.on("data", (piece: Buffer) => {
      row.received += piece.length;
    });
    pipeline(answer, response, () => {
      row.isOver = true;
    });
  });
  call.on("error", () => {
    row.isOver = true;
    response.destroy();
  });
  response.once("close", () => {
    row.isOver = true;
    call.destroy();
  });
  request.on("data", (piece: Buffer) => {
    row.sent += piece.length;
  });
  request.pipe(call);
}

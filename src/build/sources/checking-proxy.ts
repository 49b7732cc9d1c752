import { randomBytes } from "node:crypto";
import { type AddressInfo, connect, isIP } from "node:net";
import { type Duplex, pipeline } from "node:stream";
import { isKind } from "../../base/errors.ts";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "../../base/http.ts";
import type { DenyRanges } from "../deny-ranges.ts";

const NOTHING = (): void => {};

/**
 * A proxy on loopback for one program that can't check addresses itself: it connects to no denied address, wherever
 * redirects lead. Who uses it has to know its password.
 */
export class CheckingProxy implements AsyncDisposable {
  readonly password: string = randomBytes(24).toString("hex");
  /** Hosts that were refused. */
  readonly refused: Set<string> = new Set<string>();
  readonly #deny: DenyRanges;
  readonly #server = createServer((request, response) => this.#forward(request, response));
  readonly #sockets = new Set<Duplex>();

  private constructor(deny: DenyRanges) {
    this.#deny = deny;
    this.#server.on("connect", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#tunnel(request, this.#watched(socket), head);
    });
  }

  static async start(deny: DenyRanges): Promise<CheckingProxy> {
    const proxy = new CheckingProxy(deny);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once("error", reject);
      proxy.#server.listen(0, "127.0.0.1", resolve);
    });
    return proxy;
  }

  get url(): string {
    return `http://gantry:${this.password}@127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #forward(request: IncomingMessage, response: ServerResponse): void {
    const url = URL.canParse(request.url ?? "") ? new URL(request.url ?? "") : undefined;
    const status = this.#refusal(request, url?.protocol === "http:" ? url : undefined);
    if (status !== undefined || url === undefined) {
      refuse(response, status ?? 400);
      return;
    }
    const { "proxy-authorization": _, "proxy-connection": __, ...headers } = request.headers;
    const lookup = this.#deny.connectLookup;
    const onward = httpRequest(url, { method: request.method ?? "GET", headers, lookup, agent: false });
    onward.once("response", (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      pipeline(answer, response, NOTHING);
    });
    onward.on("error", (error) => {
      this.#failed(url, error);
      if (response.headersSent) response.destroy();
      else refuse(response, 502);
    });
    pipeline(request, onward, NOTHING);
  }

  #tunnel(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const text = `http://${request.url}`;
    const url = URL.canParse(text) ? new URL(text) : undefined;
    const status = this.#refusal(request, url);
    if (status !== undefined || url === undefined) {
      socket.end(`HTTP/1.1 ${status ?? 400} Refused\r\nProxy-Authenticate: Basic\r\n\r\n`);
      return;
    }
    const place = { host: bare(url.hostname), port: Number(url.port || 80), lookup: this.#deny.connectLookup };
    const onward = this.#watched(connect(place));
    onward.once("connect", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      onward.write(head);
      pipeline(socket, onward, NOTHING);
      pipeline(onward, socket, NOTHING);
    });
    onward.once("error", (error) => {
      this.#failed(url, error);
      socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
    });
  }

  #refusal({ headers }: IncomingMessage, url: URL | undefined): number | undefined {
    const proof = Buffer.from(`gantry:${this.password}`).toString("base64");
    if (headers["proxy-authorization"] !== `Basic ${proof}`) return 407;
    if (url === undefined) return 400;
    const host = bare(url.hostname);
    if (isIP(host) === 0 || !this.#deny.refuses(host)) return undefined;
    this.refused.add(host);
    return 403;
  }

  #failed({ hostname }: URL, error: unknown): void {
    if (isKind(error, "forbidden")) this.refused.add(bare(hostname));
  }

  #watched<T extends Duplex>(socket: T): T {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    // Told to who reads or waits; unheard it would end the process.
    socket.on("error", NOTHING);
    return socket;
  }
}

function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { Connection: "close", ...(status === 407 && { "Proxy-Authenticate": "Basic" }) });
  response.end();
}

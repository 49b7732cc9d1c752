import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import type { TlsOptions } from "node:tls";
import { ROUTES, type Route } from "../api/routes.ts";
import { API_VERSION, compareVersions } from "../api/version.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { createServer, https, ServerResponse } from "../base/http.ts";
import type { Hijack } from "../containers/controller.ts";
import { writeError } from "./answer.ts";
import { type ExchangeOptions, Exchanges, UNREAD_BODY_MS } from "./exchange.ts";
import { readRawBody } from "./raw-body.ts";
import { parseTarget } from "./request-target.ts";
import { createRouter, type RouteMatch } from "./router.ts";
import { messageClass, streamHijack } from "./takeover.ts";

export interface ServerOptions extends ExchangeOptions {
  readonly engineVersion: string;
  readonly tls?: TlsOptions;
  /** How long a client may take over a request's head. Default 20,000. */
  readonly headersTimeoutMs?: number;
}

/** An idle kept connection is closed after this; clients reopen it. */
const KEEP_ALIVE_MS = 10 * 60_000;

/**
 * The Engine API over HTTP/1.1. Heads are bounded in size and time; what streams has no timeout. No client can make
 * the process fail: every error of a connection ends that connection only.
 */
export function createEngineServer(options: ServerOptions): Server {
  const { log } = options;
  const exchanges = new Exchanges(options);
  const match = createRouter();
  const common = {
    "Api-Version": API_VERSION,
    "Docker-Experimental": "false",
    Ostype: "linux",
    Server: `Gantry/${options.engineVersion} (linux)`,
  };
  const headersTimeout = options.headersTimeoutMs ?? 20_000;
  const settings = {
    headersTimeout,
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: Math.min(headersTimeout, 5_000),
    maxHeaderSize: 256 * 1024,
    requireHostHeader: false,
    noDelay: true,
    IncomingMessage: messageClass((method, url) => hijacksOf(matchUrl(method, url)) !== undefined),
    shouldUpgradeCallback: ({ method, url }: IncomingMessage) => hijacksOf(matchUrl(method, url)) !== undefined,
  };
  const server =
    options.tls === undefined ? createServer(settings) : https().createServer({ ...settings, ...options.tls });

  server.on("request", (request, response) => {
    for (const [name, value] of Object.entries(common)) response.setHeader(name, value);
    const target = parseTarget(request.url);
    const found = match(request.method ?? "", target.path);
    void exchanges.serve({
      message: request,
      response,
      target,
      found,
      document: undefined,
      hijack: noHijack,
      taken: no,
    });
  });

  // Every request to a route that hijacks comes here, whether it asks for an upgrade or not.
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const response = new ServerResponse(request);
    for (const [name, value] of Object.entries(common)) response.setHeader(name, value);
    response.shouldKeepAlive = false;
    socket.on("error", ignore);
    void serveTaken(request, response, socket, head).catch((error: unknown) => {
      if (response.socket === null) response.assignSocket(socket);
      writeError(response, error);
      endConnection(socket);
    });
  });

  const open = new Set<Socket>();
  connections.set(server as Server, open);
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket)).on("error", ignore);
  });
  server.on("tlsClientError", (error: Error) => log.debug("TLS handshake failed", { error: error.message }));
  server.on("clientError", (error: Error, socket: Socket) => refuseConnection(error, socket));
  return server as Server;

  function matchUrl(method: string | undefined, url: string | undefined): RouteMatch | undefined {
    return match(method ?? "", parseTarget(url).path);
  }

  async function serveTaken(
    message: IncomingMessage,
    response: ServerResponse,
    socket: Socket,
    head: Buffer,
  ): Promise<void> {
    if (/^100-continue$/i.test(message.headers.expect ?? "")) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
    const { body, rest } = await readRawBody(socket, head, message.headers);
    const target = parseTarget(message.url);
    const found = match(message.method ?? "", target.path);
    let isTaken = false;
    const onTaken = () => {
      isTaken = true;
      response.detachSocket(socket);
    };
    const version = target.version ?? API_VERSION;
    let hijack: Hijack;
    if (hijacksOf(found) === "websocket") {
      const { webSocketHijack } = await import("./websocket.ts");
      hijack = webSocketHijack({ message, socket, rest, text: compareVersions(version, "1.28") < 0, onTaken });
    } else {
      const asked = message.headers.upgrade?.toLowerCase();
      if (hijacksOf(found) === "h2c") requireHttp2(asked);
      const upgraded = asked === "tcp" || asked === "h2c" ? asked : undefined;
      hijack = streamHijack({ socket, rest, upgraded, version, headers: upgraded ? common : {}, onTaken });
    }
    response.assignSocket(socket);
    const document = body.toString("utf8");
    await exchanges.serve({ message, response, target, found, document, hijack, taken: () => isTaken });
    if (!isTaken) endConnection(socket);
  }
}

const connections = new WeakMap<Server, Set<Socket>>();

/** A server's open connections, those included that HTTP has handed over: a server that closes waits for them. */
export function connectionsOf(server: Server): Iterable<Socket> {
  return connections.get(server) ?? [];
}

/** On such a route there is nothing but the protocol that it goes on in. */
function requireHttp2(asked: string | undefined): void {
  if (asked === "h2c") return;
  const text = asked === undefined ? "no upgrade proto in request" : `protocol ${asked.slice(0, 100)} not supported`;
  throw new GantryError("invalid", text);
}

/** Ends a connection that no parser reads any more, once the client has had time to stop sending. */
function endConnection(socket: Socket): void {
  socket.end();
  const timer = setTimeout(() => socket.destroy(), UNREAD_BODY_MS);
  socket.resume().once("close", () => clearTimeout(timer));
}

const REFUSALS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

function refuseConnection(error: Error, socket: Socket): void {
  if (!socket.writable || hasCode(error, "ECONNRESET", "EPIPE")) {
    socket.destroy();
    return;
  }
  const status = REFUSALS[(error as { code?: string }).code ?? ""] ?? "400 Bad Request";
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`,
    () => socket.destroy(),
  );
}

function hijacksOf(found: RouteMatch | undefined): Route["hijacks"] {
  const route: Route | undefined = found && ROUTES[found.name];
  return route?.hijacks;
}

const no = () => false;

const noHijack: Hijack = () => {
  throw new GantryError("internal", "this route can't take its connection over");
};

/** What went wrong with a connection shows as its close. */
function ignore(): void {}

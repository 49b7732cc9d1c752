import { createServer, type IncomingMessage, type Server, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { TlsOptions } from "node:tls";
import { answerFor } from "../api/client-quirks.ts";
import { olderAnswer } from "../api/older-answers.ts";
import { ROUTES, type Route, type RouteName } from "../api/routes.ts";
import { API_VERSION, checkVersion, compareVersions } from "../api/version.ts";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Hijack } from "../containers/controller.ts";
import { type Answer, empty, writeAnswer, writeError } from "./answer.ts";
import type { Access } from "./bind-address.ts";
import { readRawBody } from "./raw-body.ts";
import { type Handlers, routeRequest } from "./route-request.ts";
import { createRouter, type RouteMatch } from "./router.ts";
import { messageClass, streamHijack } from "./takeover.ts";

export interface ServerOptions {
  readonly handlers: Handlers;
  readonly log: Logger;
  readonly engineVersion: string;
  readonly tls?: TlsOptions;
  /** `read` serves only what changes nothing, to whoever reaches the socket. Default `all`. */
  readonly access?: Access;
  /** Told of each answer that is whole: the route's name or `none`; 101 for a connection that was taken over. */
  readonly onAnswered?: (route: string, method: string, status: number) => void;
  /** How long a client may take over a request's head. Default 20,000. */
  readonly headersTimeoutMs?: number;
}

/** An idle kept connection is closed after this; clients reopen it. */
const KEEP_ALIVE_MS = 10 * 60_000;

/** For so long a refused request's body is thrown away before its connection is closed. */
const UNREAD_BODY_MS = 2_000;

/**
 * The Engine API over HTTP/1.1. Heads are bounded in size and time; what streams has no timeout. No client can make
 * the process fail: every error of a connection ends that connection only.
 */
export function createEngineServer(options: ServerOptions): Server {
  const { handlers, log } = options;
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
  const server = options.tls === undefined ? createServer(settings) : createTlsServer({ ...settings, ...options.tls });

  server.on("request", (request, response) => {
    for (const [name, value] of Object.entries(common)) response.setHeader(name, value);
    const target = parseTarget(request.url);
    const found = match(request.method ?? "", target.path);
    void serve({ message: request, response, target, found, document: undefined, hijack: noHijack, taken: no });
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

  server.on("connection", (socket: Socket) => socket.on("error", ignore));
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
      const upgraded = message.headers.upgrade?.toLowerCase() === "tcp";
      hijack = streamHijack({ socket, rest, upgraded, version, headers: upgraded ? common : {}, onTaken });
    }
    response.assignSocket(socket);
    await serve({ message, response, target, found, document: body.toString("utf8"), hijack, taken: () => isTaken });
    if (!isTaken) endConnection(socket);
  }

  async function serve(exchange: Exchange): Promise<void> {
    const { message, response, target, found, document, hijack } = exchange;
    try {
      const onLeft = (abort: () => void) => {
        const left = () => {
          if (!response.writableFinished && !exchange.taken()) abort();
        };
        if (message.socket.destroyed) abort();
        else message.socket.once("close", left);
        response.once("finish", () => message.socket.off("close", left));
      };
      const version = target.version ?? API_VERSION;
      if (target.version !== undefined) checkVersion(target.version);
      const answer = await answerOf(message, found, () =>
        routeRequest({ message, match: found!, search: target.search, version, hijack, document, onLeft }),
      );
      await writeAnswer(
        response,
        found === undefined ? answer : asOf(answer, found.name, version, message.headers["user-agent"]),
      );
    } catch (error) {
      if (exchange.taken()) {
        // Its owner failed: there is nobody left to end it.
        message.socket.destroy();
        log.error("a hijacked connection failed", { url: message.url?.slice(0, 500), error: messageOf(error) });
        return;
      }
      finishError(message, response, error);
    } finally {
      options.onAnswered?.(found?.name ?? "none", message.method ?? "", exchange.taken() ? 101 : response.statusCode);
    }
  }

  function answerOf(
    message: IncomingMessage,
    found: RouteMatch | undefined,
    request: () => ReturnType<typeof routeRequest>,
  ): Promise<Answer> | Answer {
    if (message.method === "OPTIONS") return empty(200);
    if (found === undefined) throw new GantryError("not-found", "page not found");
    const isRead = ROUTES[found.name].access === "read" && (message.method === "GET" || message.method === "HEAD");
    if (options.access === "read" && !isRead) {
      const asked = `${message.method} ${parseTarget(message.url).path.slice(0, 200)}`;
      throw new GantryError("forbidden", `${asked} is refused: this socket serves only what reads`);
    }
    const handler = handlers[found.name] as (request: ReturnType<typeof routeRequest>) => Promise<Answer> | Answer;
    return handler(request());
  }

  function finishError(message: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (!(error instanceof GantryError) || error.kind === "internal") {
      // A client that leaves in the midst of its body fails whoever reads it, which is no fault of the engine's.
      const hasLeft = message.socket.destroyed && !message.complete;
      log[hasLeft ? "debug" : "error"]("request failed", {
        method: message.method,
        url: message.url?.slice(0, 500),
        error: error instanceof Error ? (error.stack ?? error.message) : messageOf(error),
      });
    }
    if (message.complete || response.headersSent) {
      writeError(response, error);
      return;
    }
    // A body that nobody will read leaves the connection in its midst: it can't be kept. It is closed only after the
    // client has had time to stop sending: a write to a closed connection would hide the answer from it.
    response.setHeader("Connection", "close");
    writeError(response, error, unread(message));
  }
}

/** Throws away what still comes of a body. Resolves when the client has sent it, has left, or goes on for too long. */
function unread(message: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, UNREAD_BODY_MS);
  message.once("end", resolve).once("close", resolve).resume();
  return promise.finally(() => clearTimeout(timer));
}

/** Ends a connection that no parser reads any more, once the client has had time to stop sending. */
function endConnection(socket: Socket): void {
  socket.end();
  const timer = setTimeout(() => socket.destroy(), UNREAD_BODY_MS);
  socket.resume().once("close", () => clearTimeout(timer));
}

/** One request and its answer under way. */
interface Exchange {
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly found: RouteMatch | undefined;
  /** The body, where it was read before the handler began. */
  readonly document: string | undefined;
  readonly hijack: Hijack;
  /** True once the connection is somebody else's. */
  readonly taken: () => boolean;
}

interface Target {
  readonly version: string | undefined;
  readonly path: string;
  readonly search: string;
}

/** Splits a request's target; absolute ones (`http://host/path`) are allowed. */
function parseTarget(url = "/"): Target {
  const from = url.startsWith("/") ? 0 : Math.max(url.indexOf("/", url.indexOf("://") + 3), 0);
  const question = url.indexOf("?", from);
  const path = question < 0 ? url.slice(from) : url.slice(from, question);
  const search = question < 0 ? "" : url.slice(question + 1);
  const version = /^\/v([0-9]+(?:\.[0-9]+)*)(?=\/)/.exec(path)?.[1];
  return { version, path: version === undefined ? path : path.slice(version.length + 2), search };
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

/** An answer as its client and the version it speaks have it. */
function asOf(answer: Answer, route: RouteName, version: string, agent: string | undefined): Answer {
  if (answer.kind !== "json") return answer;
  return { ...answer, value: answerFor(agent, route, olderAnswer(route, version, answer.value)) };
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

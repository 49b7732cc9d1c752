import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { answerFor } from "../api/client-quirks.ts";
import { olderAnswer } from "../api/older-answers.ts";
import { ROUTES, type RouteName } from "../api/routes.ts";
import { API_VERSION, checkVersion } from "../api/version.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Hijack } from "../containers/controller.ts";
import { type Answer, empty, writeAnswer, writeError } from "./answer.ts";
import type { Access } from "./bind-address.ts";
import type { Target } from "./request-target.ts";
import { type Handlers, routeRequest } from "./route-request.ts";
import type { RouteMatch } from "./router.ts";

export interface ExchangeOptions {
  readonly handlers: Handlers;
  readonly log: Logger;
  /** `read` serves only what changes nothing, to whoever reaches the socket. Default `all`. */
  readonly access?: Access;
  /** Told of each answer that is whole: the route's name or `none`; 101 for a connection that was taken over. */
  readonly onAnswered?: (route: string, method: string, status: number) => void;
}

/** One request and its answer under way. */
export interface Exchange {
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

/** For so long a refused request's body is thrown away before its connection is closed. */
export const UNREAD_BODY_MS = 2_000;

/** Answers requests: from the route that was found to the last byte, or to the error in its place. */
export class Exchanges {
  readonly #options: ExchangeOptions;

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** Never rejects: what goes wrong is the answer, or ends the connection. */
  async serve(exchange: Exchange): Promise<void> {
    const { message, response, target, found, document, hijack } = exchange;
    // Kept: a message that is done with has no socket any more.
    const { socket } = message;
    try {
      const onLeft = (abort: () => void) => {
        const left = () => {
          if (!response.writableFinished && !exchange.taken()) abort();
        };
        if (socket.destroyed) abort();
        else socket.once("close", left);
        response.once("finish", () => socket.off("close", left));
      };
      const version = target.version ?? API_VERSION;
      if (target.version !== undefined) checkVersion(target.version);
      const answer = await this.#answerOf(message, target, found, () =>
        routeRequest({ message, match: found!, search: target.search, version, hijack, document, onLeft }),
      );
      await writeAnswer(
        response,
        found === undefined ? answer : asOf(answer, found.name, version, message.headers["user-agent"]),
      );
      if (answer.kind === "stream") this.#note(message, socket, answer.failure?.());
    } catch (error) {
      if (exchange.taken()) {
        // Its owner failed: there is nobody left to end it.
        socket.destroy();
        this.#options.log.error("a hijacked connection failed", {
          url: message.url?.slice(0, 500),
          error: messageOf(error),
        });
        return;
      }
      this.#finishError(message, response, socket, error);
    } finally {
      this.#options.onAnswered?.(
        found?.name ?? "none",
        message.method ?? "",
        exchange.taken() ? 101 : response.statusCode,
      );
    }
  }

  #answerOf(
    message: IncomingMessage,
    target: Target,
    found: RouteMatch | undefined,
    request: () => ReturnType<typeof routeRequest>,
  ): Promise<Answer> | Answer {
    if (message.method === "OPTIONS") return empty(200);
    if (found === undefined) throw new GantryError("not-found", "page not found");
    const isRead = ROUTES[found.name].access === "read" && (message.method === "GET" || message.method === "HEAD");
    if (this.#options.access === "read" && !isRead) {
      const asked = `${message.method} ${target.path.slice(0, 200)}`;
      throw new GantryError("forbidden", `${asked} is refused: this socket serves only what reads`);
    }
    const handler = this.#options.handlers[found.name] as (
      request: ReturnType<typeof routeRequest>,
    ) => Promise<Answer> | Answer;
    return handler(request());
  }

  /** Logs what failed, unless it is what the client did wrong: that it is told. */
  #note(message: IncomingMessage, socket: Socket, error: unknown): void {
    if (error === undefined || (error instanceof GantryError && error.kind !== "internal")) return;
    // A client that leaves in the midst of its body fails whoever reads it, which is no fault of the engine's.
    const hasLeft = socket.destroyed && !message.complete;
    this.#options.log[hasLeft ? "debug" : "error"]("request failed", {
      method: message.method,
      url: message.url?.slice(0, 500),
      error: described(error),
    });
  }

  #finishError(message: IncomingMessage, response: ServerResponse, socket: Socket, error: unknown): void {
    this.#note(message, socket, error);
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

/** What is thrown on purpose says what is wrong; of anything else it matters where it came from. */
function described(error: unknown): string {
  return error instanceof Error && !(error instanceof GantryError) ? (error.stack ?? error.message) : messageOf(error);
}

/** Throws away what still comes of a body. Resolves when the client has sent it, has left, or goes on for too long. */
function unread(message: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, UNREAD_BODY_MS);
  message.once("end", resolve).once("close", resolve).resume();
  return promise.finally(() => clearTimeout(timer));
}

/** An answer as its client and the version it speaks have it. */
function asOf(answer: Answer, route: RouteName, version: string, agent: string | undefined): Answer {
  if (answer.kind !== "json") return answer;
  return { ...answer, value: answerFor(agent, route, olderAnswer(route, version, answer.value)) };
}

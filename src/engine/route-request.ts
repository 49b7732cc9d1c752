import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { BODY_LIMIT, checkJsonType } from "../api/decode.ts";
import { readQuery } from "../api/query.ts";
import { ROUTES, type Route, type RouteName, type RouteQuery } from "../api/routes.ts";
import { compareVersions } from "../api/version.ts";
import { GantryError } from "../base/errors.ts";
import type { Hijack } from "../containers/controller.ts";
import type { Answer } from "./answer.ts";
import type { RouteMatch } from "./router.ts";

/** One request as a route's handler sees it. */
export interface RouteRequest<N extends RouteName> {
  /** Decoded segments of the path by the route's names. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: RouteQuery<N>;
  /** The API version that the client speaks. */
  readonly version: string;
  /** Aborted when the client has left before the answer was whole. */
  readonly signal: AbortSignal;
  /** The JSON body as text, its type checked and its size bounded; empty if there is none. Throws invalid. */
  document(): Promise<string>;
  /** Bytes of the body as announced; undefined if they come in chunks. */
  readonly contentLength: number | undefined;
  /** The body as it comes, for archives. */
  body(): Readable;
  /** A header by its lower-case name, the first of several. */
  header(name: string): string | undefined;
  /** Only on routes that hijack. */
  readonly hijack: Hijack;
}

export type Handler<N extends RouteName> = (request: RouteRequest<N>) => Promise<Answer> | Answer;
export type Handlers = { readonly [N in RouteName]: Handler<N> };

export interface RequestParts {
  readonly message: IncomingMessage;
  readonly match: RouteMatch;
  readonly search: string;
  readonly version: string;
  readonly hijack: Hijack;
  /** The body, where it was read before the handler began. */
  readonly document: string | undefined;
  /** Registers what is to be called when the client leaves early. */
  readonly onLeft: (abort: () => void) => void;
}

export function routeRequest(parts: RequestParts): RouteRequest<RouteName> {
  let controller: AbortController | undefined;
  const { message, match } = parts;
  const route: Route = ROUTES[match.name];
  return {
    params: match.params,
    query: readQuery(route.query, parts.search, knownParams(route, parts.version)) as RouteQuery<RouteName>,
    version: parts.version,
    // Made on demand: most requests never ask, and it is a tenth of their cost.
    get signal() {
      if (controller === undefined) {
        const made = new AbortController();
        controller = made;
        parts.onLeft(() => made.abort(new GantryError("cancelled", "the client has closed the connection")));
      }
      return controller.signal;
    },
    document: async () => {
      checkJsonType(message.headers["content-type"], hasBody(message));
      return parts.document ?? readText(message);
    },
    contentLength:
      message.headers["transfer-encoding"] === undefined ? Number(message.headers["content-length"] ?? 0) : undefined,
    body: () => message,
    header: (name) => {
      const value = message.headers[name];
      return Array.isArray(value) ? value[0] : value;
    },
    hijack: parts.hijack,
  };
}

function knownParams({ paramVersions }: Route, version: string): ((name: string) => boolean) | undefined {
  if (paramVersions === undefined) return undefined;
  return (name) => {
    const { since, until } = paramVersions[name] ?? {};
    return (
      (since === undefined || compareVersions(version, since) >= 0) &&
      (until === undefined || compareVersions(version, until) < 0)
    );
  };
}

function hasBody(message: IncomingMessage): boolean {
  if (message.headers["transfer-encoding"] !== undefined) return true;
  return Number(message.headers["content-length"] ?? 0) > 0;
}

/** A client that sends nothing of an announced JSON body for so long is given up. */
const BODY_IDLE_MS = 60_000;

/** Reads a body of at most `BODY_LIMIT` bytes as UTF-8. Throws invalid if it is longer, breaks off or stalls. */
function readText(message: IncomingMessage): Promise<string> {
  if (!hasBody(message)) {
    message.resume();
    return Promise.resolve("");
  }
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const pieces: Buffer[] = [];
  let total = 0;
  const fail = (why: string) => {
    message.pause();
    reject(new GantryError("invalid", why));
  };
  if (Number(message.headers["content-length"] ?? 0) > BODY_LIMIT) {
    fail("http: request body too large");
    return promise;
  }
  const timer = setTimeout(() => fail("invalid JSON: the request body did not arrive in time"), BODY_IDLE_MS);
  const onData = (piece: Buffer) => {
    total += piece.length;
    timer.refresh();
    if (total > BODY_LIMIT) fail("http: request body too large");
    else pieces.push(piece);
  };
  message.on("data", onData);
  message.once("end", () => resolve(Buffer.concat(pieces).toString("utf8")));
  message.once("close", () => reject(new GantryError("invalid", "invalid JSON: unexpected EOF")));
  message.once("error", () => reject(new GantryError("invalid", "invalid JSON: unexpected EOF")));
  return promise.finally(() => {
    clearTimeout(timer);
    message.off("data", onData);
  });
}

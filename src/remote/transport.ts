import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { cancelled, throwIfAborted } from "../base/abort.ts";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { Agent as HttpAgent, request as httpRequest, https } from "../base/http.ts";
import { discard } from "./body.ts";
import { Certificates } from "./certificates.ts";
import { titleOf, UnreachableError, unreachable } from "./failure.ts";
import { isInsecure } from "./insecure.ts";
import { type Given, Inward } from "./inward.ts";
import { proxyOf } from "./proxy.ts";
import { RateCeiling } from "./rate-ceiling.ts";
import { type BodySource, sendBody } from "./send-body.ts";
import { type RemotePorts, TIME_LIMITS, type TimeLimits, type Waiting } from "./settings.ts";
import { Tap } from "./tap.ts";

const MOST_REDIRECTS = 10;
const IDLE_CONNECTION_MS = 30_000;
const MOST_AGENTS = 64;
/** Answers of the kind "103 Early Hints", which nobody here asks for. */
const MOST_HINTS = 100;

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface Exchange {
  readonly method: Method;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** A stream is sent in chunks unless the headers have its `Content-Length`. */
  readonly body?: string | Uint8Array | BodySource | undefined;
  /** True where the body itself proves something: it is not sent on to where the answer redirects. */
  readonly isSecret?: boolean;
  /** False accepts any certificate. */
  readonly verify: boolean;
  /** `host[:port]` of the registry that gave the URL; undefined where a client or the configuration did. */
  readonly givenBy?: string;
}

/** An answer at its head: who gets it reads the body to its end or destroys it. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
  /** Where it came from, after redirects. */
  readonly url: URL;
}

type Agent = { readonly agent: HttpAgent; readonly context: SecureContext | undefined };

/** HTTP to registries: kept connections, certificates, proxies, time limits, redirects. */
export class Transport {
  readonly #ports: RemotePorts;
  readonly #certificates = new Certificates();
  readonly #agents = new Map<string, Agent>();
  readonly #uploads: RateCeiling;
  readonly #inward: Inward;

  constructor(ports: RemotePorts) {
    this.#ports = ports;
    this.#uploads = new RateCeiling(() => ports.settings().maxUploadRate);
    this.#inward = new Inward(ports);
  }

  get limits(): TimeLimits {
    const { silence } = this.#ports.settings();
    return { ...TIME_LIMITS, head: silence, idle: silence, ...this.#ports.limits };
  }

  /** Sends a request and follows redirects. Whoever is redirected to on another host sees no credentials. */
  async send(exchange: Exchange, waiting: Waiting): Promise<Answer> {
    let current = exchange;
    for (let hops = 0; ; hops++) {
      const answer = await this.#once(current, waiting);
      const target = redirectOf(current, answer);
      if (target === undefined) return answer;
      discard(answer.body);
      if (hops === MOST_REDIRECTS) {
        throw new UnreachableError(
          `${titleOf(exchange.method, exchange.url)}: stopped after ${MOST_REDIRECTS} redirects`,
        );
      }
      const isElsewhere = target.host !== current.url.host;
      const verify = current.verify || (isElsewhere && !(await isInsecure(target.host, this.#ports)));
      current = { ...redirected(current, target), verify, givenBy: exchange.givenBy ?? exchange.url.host };
    }
  }

  /** Ends all connections. */
  close(): void {
    for (const { agent } of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  async #once(exchange: Exchange, waiting: Waiting): Promise<Answer> {
    const agent = await this.#agentOf(exchange);
    const given = givenOf(exchange);
    if (given !== undefined) this.#inward.refuse(given);
    for (let again = false; ; again = true) {
      throwIfAborted(waiting.signal);
      try {
        return await this.#attempt(exchange, agent, waiting);
      } catch (error) {
        // A kept connection may have ended in the very moment it was taken up.
        if (!again && (error as { isStale?: boolean }).isStale === true) continue;
        const [folder = "certs.d"] = this.#ports.settings().certificateFolders;
        throw unreachable(exchange, error, folder);
      }
    }
  }

  #attempt(exchange: Exchange, agent: HttpAgent, { signal }: Waiting): Promise<Answer> {
    const { method, url, body } = exchange;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const request = this.#request(exchange, agent);
    const late = new UnreachableError(
      `${titleOf(method, url)}: net/http: request canceled (Client.Timeout exceeded while awaiting headers)`,
    );
    let timer: NodeJS.Timeout | undefined;
    let hasMoved = false;
    // Waiting for a connection of the pool is not the registry's fault.
    request.once("socket", () => {
      const isSending = method === "PUT" || method === "PATCH";
      timer = setTimeout(() => request.destroy(late), isSending ? this.limits.upload : this.limits.head);
    });
    const abort = () => request.destroy(cancelled());
    signal?.addEventListener("abort", abort, { once: true });
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    boundHints(request);
    request.once("response", (response) => {
      settle();
      const status = response.statusCode ?? 0;
      if (!request.writableEnded) {
        // What was not sent would be taken for the next request of this connection.
        response.once("close", () => request.destroy());
        if (status < 300) request.destroy(new Error("the answer came before the whole body was sent"));
      }
      resolve({ status, headers: response.headers, body: response, url });
    });
    // Such an exchange is over for Node: it tells of no error.
    request.once("upgrade", (_response, socket) => {
      settle();
      socket.destroy();
      reject(new Error("another protocol was answered, unasked"));
    });
    request.on("error", (error) => {
      settle();
      const isCut = hasCode(error, "ECONNRESET", "EPIPE");
      const isStale = request.reusedSocket && !hasMoved && isCut;
      // One that ends in the midst of TLS's greeting will do so again.
      const isPassing = isCut && (request.socket as { secureConnecting?: boolean } | null)?.secureConnecting !== true;
      reject(Object.assign(error, { isStale, isPassing }));
    });
    if (typeof body !== "function") request.end(body);
    else {
      const taken = (): void => {
        hasMoved = true;
        timer?.refresh();
      };
      sendPieces(request, body, taken, this.#uploads);
    }
    return promise;
  }

  /** A request of which nothing is sent yet. It goes nowhere inward that it shouldn't; where it was answered is noted. */
  #request(exchange: Exchange, agent: HttpAgent): ClientRequest {
    const { body, headers, method, url } = exchange;
    const { proxies, userAgent } = this.#ports.settings();
    const given = givenOf(exchange);
    // A proxy looks names up for itself.
    const isDirect = proxyOf(url, proxies) === undefined;
    const send = url.protocol === "https:" ? https().request : httpRequest;
    const request = send(url, {
      method,
      agent,
      ...(given !== undefined && isDirect && { lookup: this.#inward.lookup(given) }),
      headers: { "User-Agent": userAgent, "Accept-Encoding": "identity", ...headers, ...lengthOf(method, body) },
    });
    if (!isDirect) return request;
    request.once("socket", ({ remoteAddress }) => {
      // A connection that was made for somebody else, before anything is sent on it.
      if (given === undefined || remoteAddress === undefined) return;
      try {
        this.#inward.refuseAddress(given, remoteAddress);
      } catch (error) {
        request.destroy(error as GantryError);
      }
    });
    request.once("response", ({ socket: { remoteAddress } }) => {
      if (remoteAddress !== undefined) this.#inward.answered(url.host, remoteAddress);
    });
    return request;
  }

  async #agentOf({ url, verify }: Exchange): Promise<HttpAgent> {
    const { certificateFolders, proxies, maxConcurrentDownloads, maxConcurrentUploads } = this.#ports.settings();
    const kept = maxConcurrentDownloads + maxConcurrentUploads;
    const proxy = proxyOf(url, proxies)?.href ?? "";
    const isSecure = url.protocol === "https:";
    const context = isSecure ? await this.#certificates.contextOf(url.host, certificateFolders) : undefined;
    const key = `${isSecure ? `https ${url.host} ${verify}` : "http"} ${kept} ${proxy}`;
    const known = this.#agents.get(key);
    if (known !== undefined && known.context === context) return known.agent;
    const options = {
      keepAlive: true,
      // Far more than are used at once: a copy holds a download while it waits for its upload.
      maxSockets: 4 * kept + 16,
      maxFreeSockets: kept,
      timeout: IDLE_CONNECTION_MS,
      ...(proxy !== "" && { proxyEnv: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } }),
    };
    const agent = isSecure
      ? new (https().Agent)({
          ...options,
          rejectUnauthorized: verify,
          ...(context !== undefined && { secureContext: context }),
        })
      : new HttpAgent(options);
    tapped(agent);
    if (known !== undefined) retire(known.agent);
    for (const [other, { agent: oldest }] of this.#agents) {
      if (this.#agents.size < MOST_AGENTS) break;
      this.#agents.delete(other);
      retire(oldest);
    }
    this.#agents.set(key, { agent, context });
    return agent;
  }
}

function boundHints(request: ClientRequest): void {
  let hints = 0;
  request.on("information", () => {
    if (++hints > MOST_HINTS) request.destroy(new Error("more than a hundred answers came before the answer"));
  });
}

/** A failure of the source ends the request with it. */
function sendPieces(request: ClientRequest, body: BodySource, taken: () => void, ceiling: RateCeiling): void {
  // Known to Node, not to its types: fails where the source gives another count than the headers told.
  Object.assign(request, { strictContentLength: true });
  sendBody(request, body, taken, ceiling).catch((error: unknown) => {
    const own = error instanceof GantryError ? error : new GantryError("internal", messageOf(error), { cause: error });
    request.destroy(own);
  });
}

/** Lets go of an agent: what is under way through it comes to its end, and its connections with that. */
function retire(agent: HttpAgent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

/** Puts a tap into each connection that an agent makes. */
function tapped(agent: HttpAgent): void {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const tap = new Tap();
    const made = connect({ ...options, onread: tap.options } as typeof options, callback);
    if (made instanceof Socket) tap.socket = made;
    return made;
  };
}

/** What a body that stands in memory is long; uploads without one say so. */
function lengthOf(method: Method, body: Exchange["body"]): Readonly<Record<string, string>> {
  if (typeof body === "function") return {};
  if (body === undefined) return method === "GET" || method === "HEAD" ? {} : { "Content-Length": "0" };
  return { "Content-Length": String(Buffer.byteLength(body)) };
}

/** A URL on another host, or another port, than the one that gave it. */
function givenOf({ givenBy, url }: Exchange): Given | undefined {
  return givenBy !== undefined && givenBy !== url.host ? { url, by: givenBy } : undefined;
}

/** GET and HEAD follow every redirect; what sends something only those that let it be sent again. */
function redirectOf({ method, url, verify, isSecret }: Exchange, { status, headers }: Answer): URL | undefined {
  const isReading = method === "GET" || method === "HEAD";
  if (!(isReading ? [301, 302, 303, 307, 308] : [307, 308]).includes(status) || isSecret) return undefined;
  const location = headers.location ?? "";
  const title = titleOf(method, url);
  if (location === "") throw new UnreachableError(`${title}: ${status} response missing Location header`);
  const target = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
  if (target === undefined) throw new UnreachableError(`${title}: ${status} response with a location that is no URL`);
  if (!/^https?:$/.test(target.protocol)) {
    const scheme = target.protocol.slice(0, -1).slice(0, 40);
    throw new UnreachableError(`${title}: ${status} response to an unsupported protocol scheme "${scheme}"`);
  }
  if (url.protocol === "https:" && target.protocol === "http:" && verify) {
    throw new GantryError(
      "forbidden",
      `${title}: the registry redirects from https to http (${target.host}), which anybody on the way could change`,
    );
  }
  return target;
}

function redirected(exchange: Exchange, target: URL): Exchange {
  const { headers = {} } = exchange;
  if (target.origin === exchange.url.origin) return { ...exchange, url: target };
  const kept = Object.entries(headers).filter(([name]) => !/^(authorization|cookie|proxy-authorization)$/i.test(name));
  target.username = "";
  target.password = "";
  return { ...exchange, url: target, headers: Object.fromEntries(kept) };
}

import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { SecureContext } from "node:tls";
import { cancelled, throwIfAborted } from "../base/abort.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { Agent as HttpAgent, request as httpRequest, https } from "../base/http.ts";
import { Certificates } from "./certificates.ts";
import { titleOf, UnreachableError, unreachable } from "./failure.ts";
import { proxyOf } from "./proxy.ts";
import { type RemotePorts, TIME_LIMITS, type TimeLimits, type Waiting } from "./settings.ts";

const MOST_REDIRECTS = 10;
/** Connections to one host at once. */
const MOST_CONNECTIONS = 8;
const IDLE_CONNECTION_MS = 30_000;
const MOST_AGENTS = 64;

export interface Exchange {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** False accepts any certificate. */
  readonly verify: boolean;
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
  readonly limits: TimeLimits;
  readonly #ports: RemotePorts;
  readonly #certificates = new Certificates();
  readonly #agents = new Map<string, Agent>();

  constructor(ports: RemotePorts) {
    this.#ports = ports;
    this.limits = { ...TIME_LIMITS, ...ports.limits };
  }

  /** Sends a request and follows redirects. Whoever is redirected to on another host sees no credentials. */
  async send(exchange: Exchange, waiting: Waiting): Promise<Answer> {
    let current = exchange;
    for (let hops = 0; ; hops++) {
      const answer = await this.#once(current, waiting);
      const target = redirectOf(current, answer);
      if (target === undefined) return answer;
      answer.body.destroy();
      if (hops === MOST_REDIRECTS) {
        throw new UnreachableError(
          `${titleOf(exchange.method, exchange.url)}: stopped after ${MOST_REDIRECTS} redirects`,
        );
      }
      current = redirected(current, target);
    }
  }

  /** Ends the connections that nobody uses. */
  close(): void {
    for (const { agent } of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  async #once(exchange: Exchange, waiting: Waiting): Promise<Answer> {
    const agent = await this.#agentOf(exchange);
    for (let again = false; ; again = true) {
      throwIfAborted(waiting.signal);
      try {
        return await this.#attempt(exchange, agent, waiting);
      } catch (error) {
        // A kept connection may have ended in the very moment it was taken up.
        if (!again && exchange.method !== "POST" && (error as { isStale?: boolean }).isStale === true) continue;
        throw unreachable(exchange.method, exchange.url, error);
      }
    }
  }

  #attempt(exchange: Exchange, agent: HttpAgent, { signal }: Waiting): Promise<Answer> {
    const { method, url, body } = exchange;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const send = url.protocol === "https:" ? https().request : httpRequest;
    const request = send(url, {
      method,
      agent,
      headers: {
        "User-Agent": this.#ports.settings().userAgent,
        ...exchange.headers,
        ...(body !== undefined && { "Content-Length": String(Buffer.byteLength(body)) }),
      },
    });
    const late = new UnreachableError(
      `${titleOf(method, url)}: net/http: request canceled (Client.Timeout exceeded while awaiting headers)`,
    );
    const timer = setTimeout(() => request.destroy(late), this.limits.head);
    const abort = () => request.destroy(cancelled());
    signal?.addEventListener("abort", abort, { once: true });
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    request.once("response", (response) => {
      settle();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: response, url });
    });
    request.on("error", (error) => {
      settle();
      if (request.reusedSocket && hasCode(error, "ECONNRESET", "EPIPE")) Object.assign(error, { isStale: true });
      reject(error);
    });
    request.end(body);
    return promise;
  }

  async #agentOf({ url, verify }: Exchange): Promise<HttpAgent> {
    const { certificateFolders, proxies } = this.#ports.settings();
    const proxy = proxyOf(url, proxies)?.href ?? "";
    const isSecure = url.protocol === "https:";
    const context = isSecure ? await this.#certificates.contextOf(url.host, certificateFolders) : undefined;
    const key = `${isSecure ? `https ${url.host} ${verify}` : "http"} ${proxy}`;
    const known = this.#agents.get(key);
    if (known !== undefined && known.context === context) return known.agent;
    const options = {
      keepAlive: true,
      maxSockets: MOST_CONNECTIONS,
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
    known?.agent.destroy();
    if (this.#agents.size >= MOST_AGENTS) this.close();
    this.#agents.set(key, { agent, context });
    return agent;
  }
}

function redirectOf({ method, url, verify }: Exchange, { status, headers }: Answer): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(status) || method === "POST") return undefined;
  const location = headers.location ?? "";
  const target = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
  if (target === undefined || !/^https?:$/.test(target.protocol)) {
    throw new UnreachableError(`${titleOf(method, url)}: ${status} response with a location that is no URL`);
  }
  if (url.protocol === "https:" && target.protocol === "http:" && verify) {
    throw new GantryError(
      "forbidden",
      `${titleOf(method, url)}: the registry redirects from https to http (${target.host}), which anybody on the way could change`,
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

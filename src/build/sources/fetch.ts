import { isIP } from "node:net";
import { cancelled, throwIfAborted } from "../../base/abort.ts";
import { errnoWords } from "../../base/errno-words.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { Agent, request as httpRequest, https, type IncomingMessage } from "../../base/http.ts";
import { proxyOf } from "../../remote/proxy.ts";
import type { ProxySettings } from "../../remote/settings.ts";
import { type DenyRanges, denied } from "../deny-ranges.ts";

const MOST_REDIRECTS = 10;

export interface FetchOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly deny: DenyRanges;
  readonly proxies: ProxySettings;
  readonly userAgent: string;
  /** Milliseconds that a server may say nothing. */
  readonly silence: number;
  readonly signal: AbortSignal;
}

/** An answer at its head; its taker reads the body to the end or destroys it. */
export interface Fetched {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  /** Fails where nothing comes for too long, and with `cancelled`. */
  readonly body: IncomingMessage;
}

/** GET, following redirects: each one's address is held against what is denied, when it is connected to. */
export async function fetchUrl(text: string, options: FetchOptions): Promise<Fetched> {
  let url = parseUrl(text);
  let { headers } = options;
  for (let hops = 0; ; hops++) {
    throwIfAborted(options.signal);
    const answer = await once(url, { ...options, headers });
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
    answer.body.destroy();
    if (hops === MOST_REDIRECTS) throw failure(text, `stopped after ${MOST_REDIRECTS} redirects`);
    const next = parseUrl(location, url);
    if (url.protocol === "https:" && next.protocol === "http:") {
      throw failure(text, `it redirects from https to http (${next.host}), which anybody on the way could change`);
    }
    if (next.origin !== url.origin) {
      // What was meant for one server is none of another's business.
      headers = Object.fromEntries(Object.entries(headers).filter(([name]) => !/^(authorization|cookie)$/i.test(name)));
      next.username = "";
      next.password = "";
    }
    url = next;
  }
}

/** A URL without who uses it and without its query, for people and records. */
export function shownUrl(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, "$1").replace(/[?#].*$/s, "");
}

function parseUrl(text: string, base?: URL): URL {
  const url = URL.canParse(text, base?.href) ? new URL(text, base) : undefined;
  if (url === undefined) throw failure(text, "it is no URL");
  if (!/^https?:$/.test(url.protocol))
    throw failure(text, `unsupported protocol scheme "${url.protocol.slice(0, -1)}"`);
  return url;
}

async function once(url: URL, options: FetchOptions): Promise<Fetched> {
  const { deny, proxies, signal, silence } = options;
  const isSecure = url.protocol === "https:";
  const proxy = proxyOf(url, proxies)?.href;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  // Whom a proxy connects to is the proxy's to say: what can be checked is what the name means here.
  if (!deny.isEmpty && proxy !== undefined) await deny.resolve(host);
  if (isIP(host) !== 0 && deny.refuses(host)) throw denied(url.host);
  const proxied = proxy === undefined ? {} : { proxyEnv: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } };
  const agent = isSecure ? new (https().Agent)(proxied) : new Agent(proxied);
  const { promise, resolve, reject } = Promise.withResolvers<Fetched>();
  const send = isSecure ? https().request : httpRequest;
  const request = send(url, {
    method: "GET",
    agent,
    headers: { "User-Agent": options.userAgent, "Accept-Encoding": "identity", ...options.headers },
    ...(proxy === undefined && !deny.isEmpty && { lookup: deny.connectLookup }),
  });
  const late = failure(url.href, "the server said nothing for too long");
  const abort = () => request.destroy(cancelled());
  signal.addEventListener("abort", abort, { once: true });
  request.setTimeout(silence, () => request.destroy(late));
  request.once("close", () => {
    signal.removeEventListener("abort", abort);
    agent.destroy();
  });
  request.once("response", (body) => resolve({ status: body.statusCode ?? 0, headers: body.headers, body }));
  request.on("error", (error) =>
    reject(error instanceof GantryError ? error : failure(url.href, errnoWords(error) ?? messageOf(error), error)),
  );
  request.end();
  return promise;
}

export function failure(url: string, why: string, cause?: unknown): GantryError {
  return new GantryError("unavailable", `cannot fetch ${shownUrl(url)}: ${why}`, { cause });
}

import { type ErrorKind, GantryError } from "../base/errors.ts";
import type { ResponseBody } from "./body.ts";
import type { Connection } from "./connection.ts";
import type { Endpoint } from "./endpoint.ts";
import { exchange, type WireResponse } from "./wire.ts";

export type { ResponseBody } from "./body.ts";
export { type Endpoint, parseEndpoint, type TlsSettings } from "./endpoint.ts";

/** What the engine refused: `message` is the engine's own text, `status` the HTTP status. */
export class EngineError extends GantryError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(kindOf(status), message);
    this.name = "EngineError";
    this.status = status;
  }
}

const KINDS: Readonly<Record<number, ErrorKind>> = {
  304: "not-modified",
  400: "invalid",
  401: "unauthenticated",
  403: "forbidden",
  404: "not-found",
  409: "conflict",
  429: "too-many-requests",
  501: "unsupported",
  503: "unavailable",
};

function kindOf(status: number): ErrorKind {
  return KINDS[status] ?? (status >= 400 && status < 500 ? "invalid" : "internal");
}

/** Query values: false, undefined and "" are left out, true is 1, an array repeats the name. */
export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

export interface CallOptions {
  readonly query?: Query;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is, in chunks. */
  readonly upload?: AsyncIterable<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** What is spoken on a connection that is taken over; `tcp` is no protocol in particular. */
  readonly protocol?: "tcp" | "h2c";
}

/** A connection taken over after `attach` or `exec start`; the socket is paused and belongs to the caller. */
export interface Hijacked {
  readonly socket: Connection;
  /** Bytes that came with the headers and go before what the socket brings. */
  readonly head: Buffer;
  /** From the content type: true, false, or undefined if the engine doesn't say (before API 1.42). */
  readonly multiplexed: boolean | undefined;
}

/** The API version that is spoken unless the engine is older or the user names another. */
export const API_VERSION = "1.51";

/**
 * Speaks the Engine API. No round trip is spent on negotiation: requests carry the newest version, and the 400 of an
 * older engine says which to use from then on. Only what can't be sent twice (an upload) asks `_ping` first.
 */
export class EngineClient {
  readonly endpoint: Endpoint;
  readonly #headers: Readonly<Record<string, string>>;
  #version: string;
  #settled: boolean;

  constructor(
    endpoint: Endpoint,
    options: { readonly version?: string; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    this.endpoint = endpoint;
    this.#headers = options.headers ?? {};
    this.#version = options.version ?? API_VERSION;
    this.#settled = options.version !== undefined;
  }

  /** The version that requests carry now. */
  get version(): string {
    return this.#version;
  }

  /** A call with a JSON answer; undefined when the answer is empty. */
  async json<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const response = await this.#send(method, path, options);
    const text = await response.body.text();
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  /** A call whose answer doesn't matter; true unless the engine says 304. */
  async done(method: string, path: string, options: CallOptions = {}): Promise<boolean> {
    const response = await this.#send(method, path, options);
    response.body.cancel();
    return response.status !== 304;
  }

  /** A call whose answer is read while it arrives. It returns at the headers. */
  async stream(
    method: string,
    path: string,
    options: CallOptions = {},
  ): Promise<{ readonly body: ResponseBody; readonly headers: Readonly<Record<string, string>> }> {
    return await this.#send(method, path, options);
  }

  /** Takes the connection over. */
  async hijack(path: string, options: CallOptions = {}): Promise<Hijacked> {
    const response = await this.#send("POST", path, options, options.protocol ?? "tcp");
    if (response.stream === undefined) {
      throw new EngineError(response.status, `unable to upgrade to tcp, received ${response.status}`);
    }
    const type = response.headers["content-type"] ?? "";
    const multiplexed = type.includes("multiplexed-stream") ? true : undefined;
    return { ...response.stream, multiplexed };
  }

  /** The version that both sides know, asked for if no request has told yet. */
  async negotiated(): Promise<string> {
    if (!this.#settled) this.#settle((await this.ping())["api-version"]);
    return this.#version;
  }

  /** GET /_ping: the engine's headers, with lower-case names. */
  async ping(): Promise<Readonly<Record<string, string>>> {
    const response = await exchange(this.endpoint, { method: "GET", path: "/_ping", headers: this.#headers });
    response.body.cancel();
    return response.headers;
  }

  async #send(method: string, path: string, options: CallOptions, hijack?: "tcp" | "h2c"): Promise<WireResponse> {
    if (options.upload !== undefined) await this.negotiated();
    const response = await this.#once(method, path, options, hijack);
    if (response.status < 400) return response;
    const message = errorText(await response.body.text(1024 * 1024), response.status, path);
    const newest = /client version \S+ is too new\. Maximum supported API version is (\d+\.\d+)/.exec(message)?.[1];
    if (response.status === 400 && newest !== undefined && !this.#settled) {
      this.#settle(newest);
      return await this.#send(method, path, options, hijack);
    }
    throw new EngineError(response.status, message);
  }

  #settle(newest: string | undefined): void {
    this.#settled = true;
    if (newest !== undefined && isOlder(newest, this.#version)) this.#version = newest;
  }

  async #once(method: string, path: string, options: CallOptions, hijack?: "tcp" | "h2c"): Promise<WireResponse> {
    const headers = {
      ...this.#headers,
      ...options.headers,
      ...(options.json === undefined ? {} : { "Content-Type": "application/json" }),
    };
    const body = options.upload ?? (options.json === undefined ? undefined : JSON.stringify(options.json));
    return await exchange(this.endpoint, {
      method,
      path: `/v${this.#version}${path}${queryText(options.query)}`,
      headers,
      ...(hijack === undefined ? {} : { hijack }),
      ...(body === undefined ? {} : { body }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }
}

/** True if the first of two API versions, such as 1.41, came before the other. */
export function isOlder(a: string, b: string): boolean {
  const [majorA = 0, minorA = 0] = a.split(".").map(Number);
  const [majorB = 0, minorB = 0] = b.split(".").map(Number);
  return majorA < majorB || (majorA === majorB && minorA < minorB);
}

function errorText(body: string, status: number, path: string): string {
  try {
    const message = (JSON.parse(body) as { message?: unknown }).message;
    if (typeof message === "string" && message !== "") return message.trim();
  } catch {
    // Not the engine's JSON: a proxy's page or plain text, shown as it is.
  }
  return body.trim() === "" ? `request returned ${status} for API route ${path}` : body.trim();
}

function queryText(query: Query | undefined): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === false || value === "") continue;
    const values = Array.isArray(value) ? (value as readonly string[]) : [value === true ? "1" : String(value)];
    for (const item of values) parts.push(`${encodeURIComponent(name)}=${encodeURIComponent(item)}`);
  }
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}

/** Filters as the API wants them: `{"name":["a","b"]}`; undefined when there is none. */
export function filtersQuery(filters: ReadonlyMap<string, readonly string[]>): string | undefined {
  if (filters.size === 0) return undefined;
  return JSON.stringify(Object.fromEntries(filters));
}

import * as v from "valibot";
import { untilAborted } from "../base/abort.ts";
import { GantryError, isKind } from "../base/errors.ts";
import { parseDocument } from "../oci/image-config.ts";
import { readDocument } from "./body.ts";
import type { Challenge } from "./challenge.ts";
import { type Credentials, fingerprint, type TokenService } from "./credentials.ts";
import { type Endpoint, hostOf } from "./endpoint.ts";
import { refused, titleOf } from "./failure.ts";
import { isInsecure } from "./insecure.ts";
import { Retries } from "./retry.ts";
import type { RemotePorts, Waiting } from "./settings.ts";
import type { Exchange, Transport } from "./transport.ts";

const CLIENT_ID = "gantry";
const MAX_ANSWER = 1 << 20;
/** What fits into a header of a request; those that are in use have some kilobytes. */
const TOKEN = /^[\x21-\x7e]{1,65536}$/;
const MOST_TRIES = 3;
const MOST_TOKENS = 256;
/** A token lives at least so long, and is not used in the last seconds of its life. */
const LEAST_SECONDS = 60;
const SPARE_SECONDS = 10;

const tokenAnswer = v.looseObject({
  token: v.optional(v.string(), ""),
  access_token: v.optional(v.string(), ""),
  refresh_token: v.optional(v.string(), ""),
  expires_in: v.optional(v.number(), LEAST_SECONDS),
});

export interface Token {
  readonly value: string;
  /** What stands for name and password from now on; empty if the server gave none. */
  readonly identityToken: string;
  /** Unix milliseconds. */
  readonly until: number;
}

export interface TokenWish {
  readonly endpoint: Endpoint;
  readonly challenge: Challenge;
  /** `repository:library/busybox:pull`. */
  readonly scopes: readonly string[];
  readonly credentials: Credentials;
  /** Ask for an identity token. */
  readonly isLogin: boolean;
}

/** Bearer tokens of the distribution project's token protocol and of OAuth 2, kept until they expire. */
export class Tokens {
  readonly #transport: Transport;
  readonly #ports: RemotePorts;
  readonly #kept = new Map<string, Token>();
  /** Tokens on their way: downloads side by side find theirs run out at the same time. */
  readonly #asked = new Map<string, Promise<Token>>();
  readonly #challenges = new Map<string, Challenge>();

  constructor(transport: Transport, ports: RemotePorts) {
    this.#transport = transport;
    this.#ports = ports;
  }

  /** A token for what the challenge and the wish name. Throws what the token server refused. */
  async get(wish: TokenWish, waiting: Waiting): Promise<Token> {
    const realm = wish.challenge.parameters.get("realm") ?? "";
    const service = wish.challenge.parameters.get("service") ?? "";
    const own = wish.challenge.parameters.get("scope");
    const scopes = [...new Set([...wish.scopes, ...(own === undefined ? [] : own.split(" "))])].filter(Boolean).sort();
    const key = JSON.stringify([realm, service, scopes, fingerprint(wish.credentials)]);
    const kept = this.#kept.get(key);
    if (kept !== undefined && kept.until > Date.now() && !wish.isLogin) return kept;
    const url = realmUrl(realm, wish.endpoint);
    const fetch = async (): Promise<Token> => {
      const token = await this.#fetch(url, service, scopes, wish, waiting);
      if (this.#kept.size >= MOST_TOKENS) this.#makeRoom();
      this.#kept.set(key, token);
      return token;
    };
    return wish.isLogin ? fetch() : this.#together(key, fetch, waiting);
  }

  async #together(key: string, fetch: () => Promise<Token>, { signal }: Waiting): Promise<Token> {
    for (;;) {
      const asked = this.#asked.get(key);
      if (asked === undefined) break;
      try {
        return await untilAborted(asked, signal);
      } catch (error) {
        // Who asked first has left: that is no answer.
        if (!isKind(error, "cancelled") || signal?.aborted === true) throw error;
      }
    }
    const asked = fetch().finally(() => this.#asked.delete(key));
    this.#asked.set(key, asked);
    return asked;
  }

  /** Drops a token that a registry didn't take. */
  drop(token: Token): void {
    for (const [key, kept] of this.#kept) if (kept === token) this.#kept.delete(key);
  }

  /** Keeps what an endpoint asks for, but the scope, so that the next client need not be refused first. */
  remember({ base }: Endpoint, { scheme, parameters }: Challenge): void {
    const kept = new Map([...parameters].filter(([name]) => name === "realm" || name === "service"));
    if (this.#challenges.size >= MOST_TOKENS) this.#challenges.clear();
    this.#challenges.set(base, { scheme, parameters: kept });
  }

  rememberedOf({ base }: Endpoint): Challenge | undefined {
    return this.#challenges.get(base);
  }

  forget({ base }: Endpoint): void {
    this.#challenges.delete(base);
  }

  #makeRoom(): void {
    const now = Date.now();
    for (const [key, { until }] of this.#kept) if (until <= now) this.#kept.delete(key);
    // Maps keep the order of insertion: the oldest goes.
    for (const key of this.#kept.keys()) {
      if (this.#kept.size < MOST_TOKENS) break;
      this.#kept.delete(key);
    }
  }

  async #fetch(
    realm: URL,
    service: string,
    scopes: readonly string[],
    wish: TokenWish,
    waiting: Waiting,
  ): Promise<Token> {
    const verify = wish.endpoint.verify || !(await isInsecure(realm.host, this.#ports));
    const { credentials } = wish;
    if (credentials.tokens !== undefined) return this.#askService(credentials.tokens, realm, service, scopes, waiting);
    const exchange =
      credentials.identityToken !== ""
        ? byRefreshToken(realm, service, scopes, credentials, verify)
        : byPassword(realm, service, scopes, wish, verify);
    return this.#ask({ ...exchange, givenBy: hostOf(wish.endpoint) }, waiting);
  }

  async #askService(
    tokens: TokenService,
    realm: URL,
    service: string,
    scopes: readonly string[],
    { signal }: Waiting,
  ): Promise<Token> {
    const { lifeSeconds, value } = await tokens.fetch({ realm: realm.href, service, scopes }, signal);
    if (!TOKEN.test(value))
      throw new GantryError("internal", `the client has no token that could be one for ${realm.host}`);
    return { value, identityToken: "", until: endOf(lifeSeconds) };
  }

  async #ask(exchange: Exchange, waiting: Waiting): Promise<Token> {
    const retries = new Retries(MOST_TRIES, this.#transport.limits, waiting);
    for (;;) {
      try {
        return await this.#askOnce(exchange, waiting);
      } catch (error) {
        await retries.after(error);
      }
    }
  }

  async #askOnce(exchange: Exchange, waiting: Waiting): Promise<Token> {
    const answer = await this.#transport.send(exchange, waiting);
    const limit = { limit: MAX_ANSWER, timeMs: this.#transport.limits.document, signal: waiting.signal };
    const title = titleOf(exchange.method, exchange.url);
    const bytes = await readDocument(answer.body, `the token of ${exchange.url.host}`, limit);
    if (answer.status < 200 || answer.status > 299) {
      const error = refused(answer.status, bytes, answer.headers);
      throw error.worded(`${title}: ${error.message}`);
    }
    const parsed = v.safeParse(tokenAnswer, parsedOrUndefined(bytes));
    const value = parsed.success ? parsed.output.token || parsed.output.access_token : "";
    if (!parsed.success || !TOKEN.test(value)) {
      throw new GantryError("internal", `${title}: authorization server did not include a token in the response`);
    }
    return { value, identityToken: parsed.output.refresh_token, until: endOf(parsed.output.expires_in) };
  }
}

function endOf(lifeSeconds: number): number {
  return Date.now() + (Math.max(lifeSeconds, LEAST_SECONDS) - SPARE_SECONDS) * 1000;
}

function byPassword(
  realm: URL,
  service: string,
  scopes: readonly string[],
  { credentials, isLogin }: TokenWish,
  verify: boolean,
): Exchange {
  const url = new URL(realm);
  if (service !== "") url.searchParams.append("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  if (isLogin) {
    url.searchParams.append("offline_token", "true");
    url.searchParams.append("client_id", CLIENT_ID);
  }
  if (credentials.username === "") return { method: "GET", url, verify };
  url.searchParams.append("account", credentials.username);
  return { method: "GET", url, verify, headers: { Authorization: basic(credentials) } };
}

function byRefreshToken(
  url: URL,
  service: string,
  scopes: readonly string[],
  { identityToken }: Credentials,
  verify: boolean,
): Exchange {
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    service,
    client_id: CLIENT_ID,
    scope: scopes.join(" "),
    refresh_token: identityToken,
  });
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  return { method: "POST", url, verify, headers, body: form.toString(), isSecret: true };
}

/** RFC 7617. */
export function basic({ username, password }: Pick<Credentials, "username" | "password">): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

/** A token server is reached as safely as the registry that names it. */
function realmUrl(realm: string, endpoint: Endpoint): URL {
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new GantryError("internal", `cannot log in to ${endpoint.host}: it names a token server that is no URL`);
  }
  if (url.protocol === "http:" && endpoint.base.startsWith("https:") && endpoint.verify) {
    throw new GantryError(
      "forbidden",
      `cannot log in to ${endpoint.host}: its token server ${url.host} is without TLS, and would show your credentials`,
    );
  }
  url.username = "";
  url.password = "";
  return url;
}

function parsedOrUndefined(bytes: Uint8Array): unknown {
  try {
    return parseDocument(bytes, "token");
  } catch {
    return undefined;
  }
}

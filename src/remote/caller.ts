import { MAX_DOCUMENT } from "../oci/image-config.ts";
import { discard, readDocument } from "./body.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credentials } from "./credentials.ts";
import { type Endpoint, hostOf } from "./endpoint.ts";
import { RefusedError, refused, titleOf, UnreachableError } from "./failure.ts";
import type { Observed } from "./observed.ts";
import { Retries } from "./retry.ts";
import type { BodySource } from "./send-body.ts";
import type { TimeLimits, Waiting } from "./settings.ts";
import { basic, type Token, type Tokens } from "./token.ts";
import type { Answer, Method, Transport } from "./transport.ts";

const MAX_REFUSAL = 64 << 10;
const MOST_TRIES = 3;

export interface Wish {
  readonly method: Method;
  /**
   * Below the endpoint's base (`v2/library/busybox/manifests/latest`), or absolute, as the location of an upload is:
   * the credentials go along only to the endpoint's own host.
   */
  readonly url: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** A stream is opened anew for each try; without a `Content-Length` among the headers it is sent in chunks. */
  readonly body?: Uint8Array | BodySource | undefined;
  /** Counts the first; 1 for what must not be repeated. Streams are not repeated unless this says so. */
  readonly tries?: number;
}

interface Proof {
  readonly header: string;
  readonly scheme: "basic" | "bearer";
  readonly token?: Token;
}

/** Requests to one endpoint in one client's name: answers challenges, tries again where that may help. */
export class Caller {
  readonly endpoint: Endpoint;
  readonly #transport: Transport;
  readonly #tokens: Tokens;
  readonly #credentials: Credentials;
  readonly #scopes: readonly string[];
  readonly #observed: Observed;
  #challenge: Challenge | undefined;

  constructor(parts: {
    readonly endpoint: Endpoint;
    readonly transport: Transport;
    readonly tokens: Tokens;
    readonly credentials: Credentials;
    readonly scopes: readonly string[];
    readonly observed: Observed;
  }) {
    this.endpoint = parts.endpoint;
    this.#transport = parts.transport;
    this.#tokens = parts.tokens;
    this.#credentials = parts.credentials;
    this.#scopes = parts.scopes;
    this.#observed = parts.observed;
  }

  get limits(): TimeLimits {
    return this.#transport.limits;
  }

  /**
   * Resolves at the head of a good answer (2xx), whose body its taker reads or discards. Throws a `RefusedError`, or
   * an `UnreachableError` that says why the registry couldn't be reached.
   */
  async call(wish: Wish, waiting: Waiting): Promise<Answer> {
    const url = new URL(wish.url, this.endpoint.base);
    return this.#retried(wish, waiting, async () => {
      const answer = await this.#proven(wish, url, waiting);
      if (answer.status >= 200 && answer.status < 300) return answer;
      throw await this.#refusal(answer, wish, url, waiting);
    });
  }

  /** The whole body of a good answer, of at most a document's length; `what` names it in refusals. */
  async fetch(
    wish: Wish,
    what: string,
    waiting: Waiting,
  ): Promise<{ readonly answer: Answer; readonly bytes: Buffer }> {
    const limit = { limit: MAX_DOCUMENT, timeMs: this.limits.document, signal: waiting.signal };
    return this.#retried(wish, waiting, async () => {
      const answer = await this.call({ ...wish, tries: 1 }, waiting);
      return { answer, bytes: await readDocument(answer.body, what, limit) };
    });
  }

  async #retried<T>({ body, tries }: Wish, waiting: Waiting, act: () => Promise<T>): Promise<T> {
    const most = tries ?? (typeof body === "function" || this.endpoint.isMirror ? 1 : MOST_TRIES);
    const retries = new Retries(most, this.limits, waiting);
    for (;;) {
      try {
        return await act();
      } catch (error) {
        await retries.after(error);
      }
    }
  }

  /** What another server serves, such as a foreign layer: without credentials, and without a word about who asks. */
  async callElsewhere(url: URL, headers: Readonly<Record<string, string>>, waiting: Waiting): Promise<Answer> {
    const givenBy = hostOf(this.endpoint);
    const answer = await this.#transport.send({ method: "GET", url, headers, verify: true, givenBy }, waiting);
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw await this.#refusal(answer, { method: "GET" }, url, waiting);
  }

  async #proven(wish: Wish, url: URL, waiting: Waiting): Promise<Answer> {
    // Another host is none of those that the credentials were given for.
    if (url.origin !== new URL(this.endpoint.base).origin) return this.#send(wish, url, undefined, waiting);
    const proof = await this.#firstProof(wish, url, waiting);
    const answer = await this.#send(wish, url, proof, waiting);
    // Whoever was redirected to has no say in where the credentials for this endpoint are shown.
    if (answer.status !== 401 || answer.url.origin !== url.origin) return answer;
    const offered = parseChallenges(answer.headers["www-authenticate"] ?? "");
    const challenge =
      offered.find(({ scheme }) => scheme === "bearer") ?? offered.find(({ scheme }) => scheme === "basic");
    if (challenge === undefined || (proof?.scheme === challenge.scheme && proof.token === undefined)) {
      return answer;
    }
    // A token may have run out on the registry's clock: it is asked for again, once.
    if (proof?.token !== undefined) this.#tokens.drop(proof.token);
    discard(answer.body);
    this.#challenge = challenge;
    this.#tokens.remember(this.endpoint, challenge);
    return this.#send(wish, url, await this.#prove(challenge, wish, url, waiting), waiting);
  }

  /** What the last challenge asks for; or that of the endpoint in an earlier client's time, where there is one. */
  async #firstProof(wish: Wish, url: URL, waiting: Waiting): Promise<Proof | undefined> {
    const { registryToken, tokens, username } = this.#credentials;
    if (registryToken !== "") return { header: `Bearer ${registryToken}`, scheme: "bearer" };
    if (this.#challenge !== undefined) return this.#prove(this.#challenge, wish, url, waiting);
    const remembered = this.#tokens.rememberedOf(this.endpoint);
    // Some registries show part of what they have to anybody.
    if (remembered === undefined || (remembered.scheme === "basic" && username === "" && tokens === undefined))
      return undefined;
    try {
      return await this.#prove(remembered, wish, url, waiting);
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error;
      this.#tokens.forget(this.endpoint);
      return undefined;
    }
  }

  async #prove(challenge: Challenge, wish: Wish, url: URL, waiting: Waiting): Promise<Proof> {
    const { endpoint } = this;
    const credentials = this.#credentials;
    if (challenge.scheme === "basic") {
      const known = (await credentials.tokens?.password(waiting.signal)) ?? credentials;
      if (known.username !== "") return { header: basic(known), scheme: "basic" };
      const reason = "no basic auth credentials";
      throw new RefusedError(401, "internal", `${titleOf(wish.method, url)}: ${reason}`, { reason });
    }
    const asked = { endpoint, challenge, scopes: this.#scopes, credentials, isLogin: false };
    const token = await this.#tokens.get(asked, waiting).catch((error: unknown) => {
      throw isAboutWho(error) ? error.worded(`${titleOf(wish.method, url)}: ${error.reason}`) : error;
    });
    return { header: `Bearer ${token.value}`, scheme: "bearer", token };
  }

  async #send(wish: Wish, url: URL, proof: Proof | undefined, waiting: Waiting): Promise<Answer> {
    const headers = { ...wish.headers, ...(proof !== undefined && { Authorization: proof.header }) };
    const { host, verify } = this.endpoint;
    const givenBy = hostOf(this.endpoint);
    const exchange = { method: wish.method, url, headers, body: wish.body, verify, givenBy };
    try {
      const answer = await this.#transport.send(exchange, waiting);
      if (answer.url.host === givenBy) this.#observed.answered(host, answer.headers);
      return answer;
    } catch (error) {
      if (error instanceof UnreachableError) this.#observed.failed(host, error.message);
      throw error;
    }
  }

  async #refusal(answer: Answer, wish: Pick<Wish, "method">, url: URL, waiting: Waiting): Promise<RefusedError> {
    const { status, headers, body } = answer;
    if (wish.method === "HEAD") {
      discard(body);
      const error = refused(status, new Uint8Array(), headers);
      return error.worded(`${titleOf("HEAD", url)}: ${error.message}`);
    }
    const limit = { limit: MAX_REFUSAL, timeMs: this.limits.document, signal: waiting.signal };
    return refused(status, await readDocument(body, `the answer of ${url.host}`, limit), headers);
  }
}

/** Whose token server doesn't let them in is told so of what they asked for, not of a server they never heard of. */
function isAboutWho(error: unknown): error is RefusedError {
  return error instanceof RefusedError && (error.status === 401 || error.status === 403);
}

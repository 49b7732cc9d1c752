import { setTimeout as after } from "node:timers/promises";
import { cancelled } from "../base/abort.ts";
import { readDocument } from "./body.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credentials } from "./credentials.ts";
import type { Endpoint } from "./endpoint.ts";
import { RefusedError, refused, titleOf, UnreachableError } from "./failure.ts";
import type { Waiting } from "./settings.ts";
import { basic, type Token, type Tokens } from "./token.ts";
import type { Answer, Transport } from "./transport.ts";

const MAX_REFUSAL = 64 << 10;
const MOST_TRIES = 3;

export interface Wish {
  readonly method: "GET" | "HEAD";
  /** Below the endpoint's base: `v2/library/busybox/manifests/latest`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Requests to one endpoint in one client's name: answers challenges, waits where it is told to. */
export class Caller {
  readonly endpoint: Endpoint;
  readonly #transport: Transport;
  readonly #tokens: Tokens;
  readonly #credentials: Credentials;
  readonly #scopes: readonly string[];
  #challenge: Challenge | undefined;

  constructor(parts: {
    readonly endpoint: Endpoint;
    readonly transport: Transport;
    readonly tokens: Tokens;
    readonly credentials: Credentials;
    readonly scopes: readonly string[];
  }) {
    this.endpoint = parts.endpoint;
    this.#transport = parts.transport;
    this.#tokens = parts.tokens;
    this.#credentials = parts.credentials;
    this.#scopes = parts.scopes;
  }

  /** Resolves at the head of a good answer. Throws a `RefusedError`, or why the registry couldn't be reached. */
  async call(wish: Wish, waiting: Waiting): Promise<Answer> {
    const url = new URL(wish.path, this.endpoint.base);
    for (let tries = 1; ; tries++) {
      const answer = await this.#proven(wish, url, waiting);
      if (answer.status >= 200 && answer.status < 300) return answer;
      const pause = tries < MOST_TRIES ? this.#pauseOf(answer) : undefined;
      if (pause === undefined) throw await this.#refusal(answer, wish, url, waiting);
      answer.body.destroy();
      await wait(pause, waiting);
    }
  }

  async #proven(wish: Wish, url: URL, waiting: Waiting): Promise<Answer> {
    const first = await this.#send(wish, url, await this.#proof(wish, url, waiting), waiting);
    if (first.answer.status !== 401) return first.answer;
    const offered = parseChallenges(first.answer.headers["www-authenticate"] ?? "");
    const challenge =
      offered.find(({ scheme }) => scheme === "bearer") ?? offered.find(({ scheme }) => scheme === "basic");
    const isNew =
      JSON.stringify([...(challenge?.parameters ?? [])]) !== JSON.stringify([...(this.#challenge?.parameters ?? [])]);
    const wasTold = this.#challenge !== undefined && !isNew;
    if (challenge === undefined || (wasTold && first.token === undefined)) return first.answer;
    // A token that had expired on the registry's clock is asked for again, once.
    if (first.token !== undefined) this.#tokens.drop(first.token);
    first.answer.body.destroy();
    this.#challenge = challenge;
    return (await this.#send(wish, url, await this.#proof(wish, url, waiting), waiting)).answer;
  }

  async #proof(wish: Wish, url: URL, waiting: Waiting): Promise<{ readonly header?: string; readonly token?: Token }> {
    const credentials = this.#credentials;
    if (credentials.registryToken !== "") return { header: `Bearer ${credentials.registryToken}` };
    const challenge = this.#challenge;
    if (challenge === undefined) return {};
    if (challenge.scheme === "basic") {
      if (credentials.username !== "") return { header: basic(credentials) };
      throw new UnreachableError(`${titleOf(wish.method, url)}: no basic auth credentials`);
    }
    const { endpoint } = this;
    const token = await this.#tokens.get(
      { endpoint, challenge, scopes: this.#scopes, credentials, isLogin: false },
      waiting,
    );
    return { header: `Bearer ${token.value}`, token };
  }

  async #send(
    wish: Wish,
    url: URL,
    proof: { readonly header?: string; readonly token?: Token },
    waiting: Waiting,
  ): Promise<{ readonly answer: Answer; readonly token: Token | undefined }> {
    const headers = { ...wish.headers, ...(proof.header !== undefined && { Authorization: proof.header }) };
    const answer = await this.#transport.send(
      { method: wish.method, url, headers, verify: this.endpoint.verify },
      waiting,
    );
    return { answer, token: proof.token };
  }

  /** Milliseconds to wait before another try; undefined where none is to be made. */
  #pauseOf({ status, headers }: Answer): number | undefined {
    if (status !== 429 && status !== 503) return undefined;
    const told = retryAfter(headers["retry-after"], Date.now());
    return told !== undefined && told <= this.#transport.limits.retryAfter ? told : undefined;
  }

  async #refusal(answer: Answer, wish: Wish, url: URL, waiting: Waiting): Promise<RefusedError> {
    if (wish.method === "HEAD") {
      answer.body.resume();
      const error = refused(answer.status, new Uint8Array());
      return new RefusedError(error.status, error.kind, `${titleOf("HEAD", url)}: ${error.message}`);
    }
    const limit = { limit: MAX_REFUSAL, timeMs: this.#transport.limits.document, signal: waiting.signal };
    return refused(answer.status, await readDocument(answer.body, `the answer of ${url.host}`, limit));
  }
}

/** RFC 9110, 10.2.3: seconds or a date; milliseconds from now. */
export function retryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  // What a lenient parser makes of anything else ("-1" is a year to it) is no date of HTTP's.
  const date = /^[A-Z][a-z]{2,8}, \d/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

async function wait(milliseconds: number, { signal }: Waiting): Promise<void> {
  try {
    await after(milliseconds, undefined, signal === undefined ? {} : { signal });
  } catch {
    throw cancelled();
  }
}

import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { join } from "node:path";
import { TestAuthority } from "./certificates.ts";
import { errorsOf } from "./faults.ts";
import { FaultyRegistry } from "./faulty-registry.ts";

/** What `describe(name, { skip: NO_HUB }, …)` takes: false, or why Docker Hub can't be played here. */
export const NO_HUB: string | false = await portTaken();

/** The hosts that Docker Hub is made of. */
const HOSTS = {
  registry: "registry-1.docker.io",
  tokens: "auth.docker.io",
  blobs: "production.cloudflare.docker.com",
  index: "index.docker.io",
} as const;
const JSON_TYPE = { "Content-Type": "application/json" };
const DENIED = "requested access to the resource is denied";
const LIMIT = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit";

export type HubHost = keyof typeof HOSTS;

export interface HubRequest {
  readonly host: HubHost | "unknown";
  readonly method: string;
  readonly path: string;
  /** The scheme of its credentials; "" without any. */
  readonly scheme: string;
  readonly agent: string;
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}

/** A token and what it is good for. */
interface Grant {
  readonly scopes: readonly string[];
}

/**
 * Docker Hub's hosts, played on one loopback address at the port that they have: tokens by scope, blobs at a host of
 * their own, counted pulls, private repositories. An engine that is started by `wrap` with `env` takes it for the real
 * one; what else it looks up has no answer.
 */
export class StandInHub implements AsyncDisposable {
  /** Anonymous pulls that are left. */
  pullsLeft = 100;
  readonly requests: HubRequest[] = [];
  readonly #contents = new FaultyRegistry({});
  readonly #authority = new TestAuthority("a test's Docker Hub");
  readonly #tokens = new Map<string, Grant>();
  readonly #signatures = new Map<string, string>();
  readonly #address: string;
  readonly #folder: string;
  readonly #server: ReturnType<typeof createServer>;

  private constructor(folder: string) {
    this.#folder = folder;
    const [a = 0, b = 0, c = 0] = randomBytes(3);
    this.#address = `127.${64 + (a % 128)}.${b}.${1 + (c % 250)}`;
    const certificate = this.#authority.issue({ names: Object.values(HOSTS) });
    this.#server = createServer({ ...certificate }, (request, response) => void this.#serve(request, response));
    this.#server.on("tlsClientError", () => {});
  }

  /** What it writes for the engine lies in the folder, which stays the caller's. */
  static async start(folder: string): Promise<StandInHub> {
    const hub = new StandInHub(folder);
    const names = Object.values(HOSTS).map((name) => `${hub.#address} ${name}\n`);
    writeFileSync(join(folder, "hosts"), ["127.0.0.1 localhost\n", ...names].join(""));
    // Nobody answers there, so that no other name leaves the machine.
    writeFileSync(join(folder, "resolv.conf"), `nameserver ${hub.#address}\noptions timeout:1 attempts:1\n`);
    writeFileSync(join(folder, "authority.crt"), hub.#authority.certificate.cert);
    await new Promise<void>((resolve, reject) => {
      hub.#server.once("error", reject);
      hub.#server.listen(443, hub.#address, resolve);
    });
    return hub;
  }

  get wrap(): readonly string[] {
    const script = `mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$@"`;
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, this.#folder];
  }

  get env(): Readonly<Record<string, string>> {
    return { SSL_CERT_FILE: join(this.#folder, "authority.crt") };
  }

  /** `library/alpine:3`; joe's repositories below `joe/` are his alone. */
  add(...args: Parameters<FaultyRegistry["add"]>): string {
    return this.#contents.add(...args);
  }

  has(repository: string, digest: string): boolean {
    return this.#contents.has(repository, digest);
  }

  forget(): void {
    this.requests.splice(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", headers } = request;
    const host = (Object.keys(HOSTS) as HubHost[]).find((key) => HOSTS[key] === headers.host) ?? "unknown";
    const url = new URL(request.url ?? "/", "https://here");
    const [scheme = "", credentials = ""] = (headers.authorization ?? "").split(" ");
    this.requests.push({
      host,
      method,
      path: `${url.pathname}${url.search}`,
      scheme,
      agent: headers["user-agent"] ?? "",
    });
    try {
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      const answer = await this.#answer(host, { method, url, headers, credentials, body: Buffer.concat(pieces) });
      const body = Buffer.from(answer.body ?? "");
      response.writeHead(answer.status, { "content-length": body.length, ...answer.headers });
      response.end(method === "HEAD" ? undefined : body);
    } catch {
      response.destroy();
    }
  }

  async #answer(host: HubHost | "unknown", call: Call): Promise<Answer> {
    if (host === "tokens") return this.#token(call);
    if (host === "registry") return await this.#registry(call);
    if (host === "blobs") return await this.#blob(call);
    if (host === "index" && call.url.pathname === "/v1/search") return search(call.url);
    return { status: 404 };
  }

  #token({ url, credentials }: Call): Answer {
    const [user, password] = Buffer.from(credentials, "base64").toString().split(":");
    if (credentials !== "" && (user !== "joe" || password !== "secret")) {
      return json(401, { details: "incorrect username or password" });
    }
    if (url.searchParams.get("service") !== "registry.docker.io") return json(400, { details: "invalid service" });
    // As the Hub does: a token is given in any case, for what whoever asks may do.
    const scopes = url.searchParams.getAll("scope").map((scope) => {
      const [, repository = "", actions = ""] = /^repository:([^:]+):(.*)$/.exec(scope) ?? [];
      const isOwn = user !== undefined && repository.startsWith(`${user}/`);
      const isPublic = this.#exists(repository) && !repository.startsWith("joe/");
      const may = (action: string): boolean => isOwn || (action === "pull" && isPublic);
      return `repository:${repository}:${actions.split(",").filter(may).join(",")}`;
    });
    const token = randomBytes(24).toString("base64url");
    this.#tokens.set(token, { scopes });
    return json(200, { token, access_token: token, expires_in: 300, issued_at: new Date().toISOString() });
  }

  #exists(repository: string): boolean {
    return [...this.#contents.stock.tags.keys()].some((name) => name.startsWith(`${repository}:`));
  }

  async #registry({ method, url, headers, credentials, body }: Call): Promise<Answer> {
    const [, repository = "", kind = ""] = /^\/v2\/(.+?)\/(manifests|blobs|tags)\//.exec(url.pathname) ?? [];
    const action = method === "GET" || method === "HEAD" ? "pull" : "push";
    const grant = this.#tokens.get(credentials);
    const isGranted =
      repository === "" ||
      grant?.scopes.some((scope) => scope.startsWith(`repository:${repository}:`) && scope.includes(action));
    if (grant === undefined || isGranted !== true) {
      const scope =
        repository === "" ? "" : `,scope="repository:${repository}:${action === "pull" ? "pull" : "pull,push"}"`;
      const error = grant === undefined ? "" : ',error="insufficient_scope"';
      const challenge = `Bearer realm="https://${HOSTS.tokens}/token",service="registry.docker.io"${scope}${error}`;
      const refusal = grant === undefined ? errorsOf(401) : errorsOf(401, "DENIED", DENIED);
      return { status: 401, headers: { ...JSON_TYPE, "WWW-Authenticate": challenge }, body: refusal };
    }
    const limits: Record<string, string> = { "docker-ratelimit-source": "192.0.2.1" };
    if (kind === "manifests" && action === "pull") {
      // Only what gives a manifest away counts.
      if (method === "GET") this.pullsLeft--;
      limits["ratelimit-limit"] = "100;w=21600";
      limits["ratelimit-remaining"] = `${Math.max(this.pullsLeft, 0)};w=21600`;
      if (this.pullsLeft < 0) {
        return { status: 429, headers: { ...JSON_TYPE, ...limits }, body: errorsOf(429, "TOOMANYREQUESTS", LIMIT) };
      }
    }
    const answer = await this.#content({ method, headers, body }, url.pathname + url.search);
    if (kind === "blobs" && method === "GET" && answer.status === 200) return this.#elsewhere(url.pathname);
    return { ...answer, headers: { ...answer.headers, ...limits } };
  }

  /** What the registry behind all of this says to the same request at another path. */
  async #content({ body, headers, method }: Pick<Call, "body" | "headers" | "method">, path: string): Promise<Answer> {
    const sent = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
    const answer = await this.#contents.request(method, path, { headers: sent, body });
    const told = Object.entries(answer.headers).filter(([, value]) => value !== undefined) as [string, string][];
    return { ...answer, headers: Object.fromEntries(told) };
  }

  /** Blobs lie at another host, for whoever has the link. */
  #elsewhere(path: string): Answer {
    const verify = randomBytes(12).toString("hex");
    this.#signatures.set(verify, path);
    const hex = path.slice(path.lastIndexOf(":") + 1);
    const location = `https://${HOSTS.blobs}/registry-v2/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data?verify=${verify}`;
    return { status: 307, headers: { Location: location } };
  }

  async #blob(call: Call): Promise<Answer> {
    const path = this.#signatures.get(call.url.searchParams.get("verify") ?? "");
    // As such stores do: two ways to prove oneself at once are a mistake.
    if (call.headers.authorization !== undefined) return { status: 400, body: "only one auth mechanism allowed" };
    return path === undefined ? { status: 403 } : await this.#content(call, path);
  }
}

interface Call {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage["headers"];
  readonly credentials: string;
  readonly body: Buffer;
}

function json(status: number, value: unknown): Answer {
  return { status, headers: JSON_TYPE, body: JSON.stringify(value) };
}

function search(url: URL): Answer {
  const query = url.searchParams.get("q") ?? "";
  const found = { name: "alpine", description: "A minimal image", star_count: 11000, is_official: true };
  const results = "alpine".includes(query) ? [{ ...found, is_automated: false }] : [];
  return json(200, { query, num_results: results.length, num_pages: 1, page: 1, page_size: 25, results });
}

/** A web server of the machine's own may have the port on all addresses. */
async function portTaken(): Promise<string | false> {
  const probe = createServer();
  return await new Promise((resolve) => {
    probe.once("error", (error) => resolve(`port 443 can't be had: ${error.message}`));
    probe.listen(443, "127.63.63.63", () => probe.close(() => resolve(false)));
  });
}

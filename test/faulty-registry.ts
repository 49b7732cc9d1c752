import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Certified, selfSigned, TestAuthority } from "./certificates.ts";
import { type Act, errorsOf, type Fault, Faults, type Plan, type Step, send, spoil } from "./faults.ts";
import { type Content, contentsOf, type TestImage, type TestIndex } from "./oci-image.ts";
import { emptyStock, RegistryProtocol, type Route, refusal, routeOf, type Stock } from "./registry-protocol.ts";

export type { Act, Fault, Step } from "./faults.ts";

export interface FaultyOptions {
  readonly faults?: readonly Fault[];
  /** By the registry's own authority, but for `self-signed`; the others are what they say. */
  readonly tls?: "trusted" | "self-signed" | "expired" | "wrong-name";
  /** Asks for joe and `secret`; `bearer` has a token server of its own at `/token`. */
  readonly auth?: "basic" | "bearer";
  /** A token is good for so many requests; default any number. */
  readonly tokenUses?: number;
  /** The least size of an upload's chunks but the last, as told by OCI-Chunk-Min-Length; smaller ones are refused. */
  readonly minChunk?: number;
  /** Answers the referrers API; default false, as most registries do. */
  readonly referrers?: boolean;
  /** Has the content, uploads and tokens of another. */
  readonly shares?: FaultyRegistry;
  /** Where to listen; default 127.0.0.1. */
  readonly address?: string;
}

export interface FaultyRequest {
  readonly step: Step | "unknown";
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  status: number;
  /** Bytes of the request's and of the answer's body. */
  received: number;
  sent: number;
}

/** A registry of the tests' own, in memory: it speaks the protocol well but for the faults it is given. */
export async function startFaultyRegistry(options: FaultyOptions = {}): Promise<FaultyRegistry> {
  const registry = new FaultyRegistry(options);
  await registry.listen();
  return registry;
}

export class FaultyRegistry implements AsyncDisposable {
  readonly requests: FaultyRequest[] = [];
  /** Called with each request before anything comes of it. */
  onRequest: ((request: FaultyRequest) => void) | undefined;
  readonly stock: Stock;
  readonly #protocol: RegistryProtocol;
  readonly authority: TestAuthority | undefined;
  readonly #options: FaultyOptions;
  readonly #server: ReturnType<typeof createServer> | ReturnType<typeof createTlsServer>;
  #faults: Faults;
  #healed = new AbortController();
  #host = "";

  constructor(options: FaultyOptions) {
    this.#options = options;
    this.#faults = new Faults(options.faults ?? []);
    this.stock = options.shares?.stock ?? emptyStock();
    const { minChunk, referrers, tokenUses } = options;
    this.#protocol = new RegistryProtocol(this.stock, { url: () => this.url, minChunk, referrers, tokenUses });
    this.authority = options.tls === undefined || options.tls === "self-signed" ? undefined : new TestAuthority();
    const listener = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response);
    const certificate = certificateOf(options, this.authority);
    this.#server = certificate === undefined ? createServer(listener) : createTlsServer({ ...certificate }, listener);
    this.#server.on("tlsClientError", () => {});
    // What other servers say to who speaks TLS to them.
    this.#server.on("clientError", (_error, socket) =>
      socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    );
    this.#server.requestTimeout = 0;
  }

  /** `address:port`. */
  get host(): string {
    return this.#host;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? "http" : "https"}://${this.host}`;
  }

  /** Where it was before, if it was listening. */
  async listen(): Promise<void> {
    const address = this.#options.address ?? "127.0.0.1";
    const port = Number(this.#host.split(":")[1] ?? 0);
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, address, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    this.#host = `${address}:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on these faults, and no others. */
  misbehave(...faults: readonly Fault[]): void {
    this.#faults = new Faults(faults);
  }

  /** From now on none, and what is being sent slowly goes on as fast as it can. */
  heal(): void {
    this.misbehave();
    this.#healed.abort();
    this.#healed = new AbortController();
  }

  forget(): void {
    this.requests.splice(0);
  }

  asked(step: Step, method?: string): FaultyRequest[] {
    return this.requests.filter((row) => row.step === step && (method ?? row.method) === row.method);
  }

  /** Puts an image there under `repository:tag`; `without` are digests that it lacks. */
  add(name: string, image: TestImage | TestIndex, options: { readonly without?: readonly string[] } = {}): string {
    const [, repository = "", tag = "latest"] = /^(.+?)(?::([^:/]+))?$/.exec(name) ?? [];
    const { blobs, manifests } = contentsOf(image);
    for (const content of [...blobs, ...manifests]) {
      if (!(options.without ?? []).includes(content.digest)) this.#protocol.keep(repository, content);
    }
    this.stock.tags.set(`${repository}:${tag}`, image.manifest.digest);
    return image.manifest.digest;
  }

  /** A manifest alone, of any kind. */
  addManifest(name: string, manifest: Content): void {
    const [, repository = "", tag = "latest"] = /^(.+?)(?::([^:/]+))?$/.exec(name) ?? [];
    this.#protocol.keep(repository, manifest);
    this.stock.tags.set(`${repository}:${tag}`, manifest.digest);
  }

  has(repository: string, digest: string): boolean {
    return this.#protocol.has(repository, digest);
  }

  /** Writes its authority's certificate as `certs.d` has them. */
  writeCertificates(folder: string): void {
    mkdirSync(join(folder, this.host), { recursive: true });
    writeFileSync(join(folder, this.host, "ca.crt"), this.authority?.certificate.cert ?? "");
  }

  /** No token given so far is good any longer. */
  expireTokens(): void {
    this.stock.tokens.clear();
  }

  /** Ends all connections, and takes no others until `listen`; what it has stays. */
  async stop(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }

  /** Ends all connections, whatever they are in the midst of. */
  cut(): void {
    this.#server.closeAllConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? "";
    const url = new URL(request.url ?? "/", "http://here");
    const route = routeOf(method, url);
    const row: FaultyRequest = {
      step: route?.step ?? "unknown",
      method,
      path: `${url.pathname}${url.search}`,
      headers: request.headers,
      status: 0,
      received: 0,
      sent: 0,
    };
    this.requests.push(row);
    this.onRequest?.(row);
    response.on("error", () => {});
    try {
      const names =
        route === undefined ? [] : [route.name, this.stock.tags.get(`${route.repository}:${route.name}`) ?? ""];
      const acts = route === undefined ? [] : this.#faults.actsOn(route.step, method, names);
      const isRefused = acts.some(({ kind }) => kind === "status" || kind === "redirect");
      const isEarly = acts.some((act) => act.kind === "status" && act.isEarly === true);
      const { body, isCut } = isEarly ? NO_BODY : await readBody(request, row, acts);
      if (isCut) {
        // What came before the cut is kept: an upload can go on there.
        const upload = this.stock.uploads.get(route?.name ?? "");
        if (upload !== undefined) upload.bytes = Buffer.concat([upload.bytes, body]);
        request.destroy();
        return;
      }
      const plan =
        this.#refusal(request, route) ??
        (route === undefined ? refusal(404) : this.#protocol.answer(route, { request, url, body, acts, isRefused }));
      spoil(plan, acts, row.path);
      row.status = plan.isMute ? 0 : plan.status;
      row.sent = await send(response, plan, method === "HEAD", this.#healed.signal);
      if (isEarly) request.socket.end();
    } catch {
      // The client went away in the middle of its request.
      response.destroy();
    }
  }

  /** What a request without the right proof gets. */
  #refusal(request: IncomingMessage, route: Route | undefined): Plan | undefined {
    const { auth } = this.#options;
    if (auth === undefined || route?.step === "token") return undefined;
    const [scheme = "", value = ""] = (request.headers.authorization ?? "").split(" ");
    if (auth === "basic") {
      if (/^basic$/i.test(scheme) && Buffer.from(value, "base64").toString() === "joe:secret") return undefined;
      return refusal(401, { "WWW-Authenticate": 'Basic realm="a test"' });
    }
    const wanted = scopeOf(route);
    const token = this.stock.tokens.get(value);
    if (token !== undefined && token.uses > 0 && (wanted === undefined || token.scopes.some(covers(wanted)))) {
      token.uses--;
      return undefined;
    }
    const scope = wanted === undefined ? "" : `,scope="${wanted}"`;
    const error = token === undefined || token.uses <= 0 ? "" : ',error="insufficient_scope"';
    return refusal(401, { "WWW-Authenticate": `Bearer realm="${this.url}/token",service="a test"${scope}${error}` });
  }

  /** A request to itself, past its faults and without being written down. */
  async request(
    method: string,
    path: string,
    options: { readonly headers?: Readonly<Record<string, string>>; readonly body?: Uint8Array | string } = {},
  ): Promise<{ readonly status: number; readonly headers: Record<string, string | undefined>; readonly body: Buffer }> {
    const url = new URL(path, "http://here");
    const route = routeOf(method, url);
    if (route === undefined) return { status: 404, headers: {}, body: Buffer.from(errorsOf(404)) };
    const headers = Object.fromEntries(
      Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]),
    );
    const request = { method, headers } as unknown as IncomingMessage;
    const body = Buffer.from(options.body ?? "");
    const plan = this.#protocol.answer(route, { request, url, body, acts: [], isRefused: false });
    const lower = Object.fromEntries(Object.entries(plan.headers).map(([name, value]) => [name.toLowerCase(), value]));
    return { status: plan.status, headers: lower, body: plan.body };
  }
}

function scopeOf(route: Route | undefined): string | undefined {
  if (route === undefined || route.step === "ping") return undefined;
  const isRead = ["manifest", "blob", "tags", "referrers"].includes(route.step);
  return `repository:${route.repository}:${isRead ? "pull" : "pull,push"}`;
}

function covers(wanted: string): (scope: string) => boolean {
  const [, name, actions = ""] = /^repository:(.+):([^:]*)$/.exec(wanted) ?? [];
  return (scope) => {
    const [, own, has = ""] = /^repository:(.+):([^:]*)$/.exec(scope) ?? [];
    return own === name && actions.split(",").every((action) => has.split(",").includes(action));
  };
}

function certificateOf(
  { tls, address = "127.0.0.1" }: FaultyOptions,
  authority?: TestAuthority,
): Certified | undefined {
  if (tls === undefined) return undefined;
  const until = new Date(Date.now() - 60_000);
  if (tls === "self-signed") return selfSigned({ names: [address] });
  const names = tls === "wrong-name" ? ["registry.invalid"] : [address];
  return authority?.issue({ names, ...(tls === "expired" && { until }) });
}

const NO_BODY = { body: Buffer.alloc(0), isCut: false };

/** The body, as far as faults let it come. */
async function readBody(
  request: IncomingMessage,
  row: FaultyRequest,
  acts: readonly Act[],
): Promise<{ readonly body: Buffer; readonly isCut: boolean }> {
  const pieces: Buffer[] = [];
  const cut = acts.find((act) => act.kind === "cut-upload")?.after ?? Number.POSITIVE_INFINITY;
  // A loop over the request would destroy it when left, before what came is kept.
  for await (const piece of request.iterator({ destroyOnReturn: false })) {
    pieces.push(piece as Buffer);
    row.received += (piece as Buffer).length;
    if (row.received >= cut) return { body: Buffer.concat(pieces).subarray(0, cut), isCut: true };
  }
  return { body: Buffer.concat(pieces), isCut: false };
}

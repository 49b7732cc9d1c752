import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Certified, selfSigned, TestAuthority } from "./certificates.ts";
import { type Act, errorsOf, type Fault, Faults, type Plan, type Step, send, spoil } from "./faults.ts";
import { type Content, contentOf, contentsOf, type TestImage, type TestIndex } from "./oci-image.ts";

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

interface Upload {
  readonly repository: string;
  bytes: Buffer;
  /** A chunk came that was too small to be any but the last. */
  hasEnd?: boolean;
}

interface Stock {
  readonly contents: Map<string, Content>;
  /** `repository@digest` of what each has, `repository:tag` to digests. */
  readonly links: Set<string>;
  readonly tags: Map<string, string>;
  readonly uploads: Map<string, Upload>;
  /** Scopes and uses left. */
  readonly tokens: Map<string, { readonly scopes: readonly string[]; uses: number }>;
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
  readonly authority: TestAuthority | undefined;
  readonly #options: FaultyOptions;
  readonly #server: ReturnType<typeof createServer> | ReturnType<typeof createTlsServer>;
  #faults: Faults;
  #host = "";

  constructor(options: FaultyOptions) {
    this.#options = options;
    this.#faults = new Faults(options.faults ?? []);
    this.stock = options.shares?.stock ?? {
      contents: new Map(),
      links: new Set(),
      tags: new Map(),
      uploads: new Map(),
      tokens: new Map(),
    };
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

  async listen(): Promise<void> {
    const address = this.#options.address ?? "127.0.0.1";
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, address, resolve);
    });
    this.#host = `${address}:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on these faults, and no others. */
  misbehave(...faults: readonly Fault[]): void {
    this.#faults = new Faults(faults);
  }

  /** From now on none. */
  heal(): void {
    this.misbehave();
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
      if (!(options.without ?? []).includes(content.digest)) this.#keep(repository, content);
    }
    this.stock.tags.set(`${repository}:${tag}`, image.manifest.digest);
    return image.manifest.digest;
  }

  /** A manifest alone, of any kind. */
  addManifest(name: string, manifest: Content): void {
    const [, repository = "", tag = "latest"] = /^(.+?)(?::([^:/]+))?$/.exec(name) ?? [];
    this.#keep(repository, manifest);
    this.stock.tags.set(`${repository}:${tag}`, manifest.digest);
  }

  has(repository: string, digest: string): boolean {
    return this.stock.links.has(`${repository}@${digest}`);
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

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }

  #keep(repository: string, content: Content): void {
    this.stock.contents.set(content.digest, content);
    this.stock.links.add(`${repository}@${content.digest}`);
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
        (route === undefined ? refusal(404) : this.#answer(route, { request, url, body, acts, isRefused }));
      spoil(plan, acts, row.path);
      row.status = plan.isMute ? 0 : plan.status;
      row.sent = await send(response, plan, method === "HEAD");
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

  #answer(
    route: Route,
    call: {
      readonly request: IncomingMessage;
      readonly url: URL;
      readonly body: Buffer;
      readonly acts: readonly Act[];
      readonly isRefused: boolean;
    },
  ): Plan {
    const { request, url, body, acts } = call;
    // What is refused does not happen, either.
    if (call.isRefused) return planOf(200, {});
    switch (route.step) {
      case "ping":
        return planOf(200, { "Content-Type": "application/json" }, Buffer.from("{}"));
      case "token":
        return this.#token(request, url, body);
      case "manifest":
      case "blob":
        return this.#content(route, request, acts);
      case "tags":
        return this.#tagList(route.repository, url);
      case "referrers":
        return this.#referrers(route);
      case "manifest-put":
        return this.#putManifest(route, request, body);
      case "mount":
        return this.#mount(route, url, acts);
      case "upload-start":
        return this.#begin(route.repository, acts);
      case "upload-chunk":
      case "upload-end":
      case "upload-status":
      case "upload-cancel":
        return this.#upload(route, { request, url, body, acts });
    }
  }

  #token(request: IncomingMessage, url: URL, body: Buffer): Plan {
    const isForm = request.method === "POST";
    const form = isForm ? new URLSearchParams(body.toString()) : url.searchParams;
    const header = request.headers.authorization;
    const isJoe = isForm
      ? form.get("refresh_token") === "joe-again" ||
        (form.get("username") === "joe" && form.get("password") === "secret")
      : header !== undefined && Buffer.from(header.replace(/^basic /i, ""), "base64").toString() === "joe:secret";
    if (!isJoe) return refusal(401);
    const token = `token-${randomBytes(8).toString("hex")}`;
    const scopes = form.getAll("scope").flatMap((scope) => scope.split(" ").filter(Boolean));
    this.stock.tokens.set(token, { scopes, uses: this.#options.tokenUses ?? Number.POSITIVE_INFINITY });
    const refresh = form.get("offline_token") === "true" ? { refresh_token: "joe-again" } : {};
    return planOf(
      200,
      { "Content-Type": "application/json" },
      Buffer.from(JSON.stringify({ token, access_token: token, expires_in: 300, ...refresh })),
    );
  }

  #content(route: Route, request: IncomingMessage, acts: readonly Act[]): Plan {
    const { repository, name } = route;
    const digest = name.includes(":") ? name : this.stock.tags.get(`${repository}:${name}`);
    const content = digest === undefined ? undefined : this.stock.contents.get(digest);
    if (content === undefined || !this.has(repository, content.digest)) {
      return route.step === "blob"
        ? refusal(404, {}, errorsOf(404, "BLOB_UNKNOWN", "blob unknown to registry"))
        : refusal(404, {}, errorsOf(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    }
    const type = route.step === "blob" ? "application/octet-stream" : content.mediaType;
    const headers = { "Content-Type": type, "Docker-Content-Digest": content.digest };
    const { length } = content.bytes;
    const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const ignores = acts.some(({ kind }) => kind === "no-ranges");
    if (asked === null || ignores || request.method !== "GET") return planOf(200, headers, content.bytes);
    const [from, to] = [Number(asked[1]), asked[2] === "" ? length - 1 : Math.min(Number(asked[2]), length - 1)];
    if (from >= length || from > to || acts.some(({ kind }) => kind === "refuse-ranges")) {
      return refusal(416, { "Content-Range": `bytes */${length}` });
    }
    const wrong = acts.find((act) => act.kind === "wrong-range");
    const start = Math.max(0, Math.min(length - 1, from + (wrong?.shift ?? 0)));
    const told = wrong?.isTold === false ? from : start;
    return planOf(
      206,
      { ...headers, "Content-Range": `bytes ${told}-${to}/${length}` },
      content.bytes.subarray(start, to + 1),
    );
  }

  #tagList(repository: string, url: URL): Plan {
    const all = [...this.stock.tags.keys()].filter((key) => key.startsWith(`${repository}:`));
    if (all.length === 0) return refusal(404);
    const tags = all.map((key) => key.slice(repository.length + 1)).sort();
    const last = url.searchParams.get("last") ?? "";
    const rest = tags.filter((tag) => tag > last);
    const page = rest.slice(0, Number(url.searchParams.get("n") ?? rest.length));
    const next = `/v2/${repository}/tags/list?last=${page.at(-1)}&n=${page.length}`;
    const link = page.length < rest.length ? { Link: `<${next}>; rel="next"` } : {};
    return planOf(200, { "Content-Type": "application/json", ...link }, json({ name: repository, tags: page }));
  }

  #referrers({ repository, name }: Route): Plan {
    if (this.#options.referrers !== true) return refusal(404);
    const found = [...this.stock.contents.values()].filter((content) => {
      return this.has(repository, content.digest) && parsed(content.bytes)?.subject?.digest === name;
    });
    const manifests = found.map(({ mediaType, digest, bytes }) => {
      const { artifactType, config, annotations } = parsed(bytes);
      return { mediaType, digest, size: bytes.length, artifactType: artifactType ?? config?.mediaType, annotations };
    });
    const type = "application/vnd.oci.image.index.v1+json";
    return planOf(200, { "Content-Type": type }, json({ schemaVersion: 2, mediaType: type, manifests }));
  }

  #putManifest({ repository, name }: Route, request: IncomingMessage, body: Buffer): Plan {
    const content = contentOf(request.headers["content-type"] ?? "", body);
    if (name.includes(":") && name !== content.digest)
      return refusal(400, {}, errorsOf(400, "DIGEST_INVALID", "provided digest did not match uploaded content"));
    const { config, layers = [], manifests = [], subject } = parsed(body) ?? {};
    const named = [config, ...layers.filter((layer: { urls?: unknown }) => layer.urls === undefined), ...manifests];
    const missing = named.find((row) => row?.digest !== undefined && !this.has(repository, row.digest));
    if (missing !== undefined)
      return refusal(400, {}, errorsOf(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"));
    this.#keep(repository, content);
    if (!name.includes(":")) this.stock.tags.set(`${repository}:${name}`, content.digest);
    const heeded = this.#options.referrers === true && subject !== undefined ? { "OCI-Subject": subject.digest } : {};
    const place = `${this.url}/v2/${repository}/manifests/${content.digest}`;
    return planOf(201, { Location: place, "Docker-Content-Digest": content.digest, ...heeded });
  }

  #mount({ repository, name }: Route, url: URL, acts: readonly Act[]): Plan {
    const from = url.searchParams.get("from") ?? "";
    if (acts.some(({ kind }) => kind === "ignore-mount") || !this.has(from, name)) return this.#begin(repository, acts);
    this.stock.links.add(`${repository}@${name}`);
    return planOf(201, { Location: `${this.url}/v2/${repository}/blobs/${name}`, "Docker-Content-Digest": name });
  }

  #begin(repository: string, acts: readonly Act[]): Plan {
    const id = randomBytes(8).toString("hex");
    this.stock.uploads.set(id, { repository, bytes: Buffer.alloc(0) });
    return planOf(202, { ...this.#place(repository, id, 0, acts), "Docker-Upload-UUID": id });
  }

  #upload(
    { step, repository, name: id }: Route,
    call: {
      readonly request: IncomingMessage;
      readonly url: URL;
      readonly body: Buffer;
      readonly acts: readonly Act[];
    },
  ): Plan {
    const upload = this.stock.uploads.get(id);
    if (call.acts.some(({ kind }) => kind === "forget-session")) this.stock.uploads.delete(id);
    if (upload === undefined || !this.stock.uploads.has(id) || upload.repository !== repository) {
      return refusal(404, {}, errorsOf(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"));
    }
    const place = () => this.#place(repository, id, upload.bytes.length, call.acts);
    if (step === "upload-cancel") {
      this.stock.uploads.delete(id);
      return planOf(204, {});
    }
    if (step === "upload-status") return planOf(204, place());
    const range = /^(?:bytes )?(\d+)-(\d+)/.exec(call.request.headers["content-range"] ?? "");
    if (range !== null && Number(range[1]) !== upload.bytes.length) return refusal(416, place());
    const { minChunk } = this.#options;
    // Only the last may be smaller: what follows a small one comes too late.
    if (upload.hasEnd && call.body.length > 0) return refusal(416, place());
    upload.hasEnd = minChunk !== undefined && call.body.length < minChunk;
    upload.bytes = Buffer.concat([upload.bytes, call.body]);
    if (step === "upload-chunk") return planOf(202, place());
    const content = contentOf("application/octet-stream", upload.bytes);
    this.stock.uploads.delete(id);
    if (content.digest !== call.url.searchParams.get("digest")) {
      return refusal(400, {}, errorsOf(400, "DIGEST_INVALID", "provided digest did not match uploaded content"));
    }
    this.#keep(repository, content);
    const location = `${this.url}/v2/${repository}/blobs/${content.digest}`;
    return planOf(201, { Location: location, "Docker-Content-Digest": content.digest });
  }

  #place(repository: string, id: string, size: number, acts: readonly Act[]): Record<string, string> {
    const path = `/v2/${repository}/blobs/uploads/${id}?state=${randomBytes(4).toString("hex")}`;
    const to = acts.find((act) => act.kind === "location")?.to ?? this.url;
    const { minChunk } = this.#options;
    return {
      Location: to === "relative" ? path : `${to}${path}`,
      Range: `0-${Math.max(0, size - 1)}`,
      ...(minChunk !== undefined && { "OCI-Chunk-Min-Length": String(minChunk) }),
    };
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
    const plan = this.#answer(route, { request, url, body, acts: [], isRefused: false });
    const lower = Object.fromEntries(Object.entries(plan.headers).map(([name, value]) => [name.toLowerCase(), value]));
    return { status: plan.status, headers: lower, body: plan.body };
  }
}

interface Route {
  readonly step: Step;
  readonly repository: string;
  /** A tag, a digest or an upload's id. */
  readonly name: string;
}

function routeOf(method: string, url: URL): Route | undefined {
  const path = decodeURIComponent(url.pathname);
  if (path === "/v2/" || path === "/v2") return { step: "ping", repository: "", name: "" };
  if (path === "/token") return { step: "token", repository: "", name: "" };
  const [, repository = "", kind = "", name = ""] =
    /^\/v2\/(.+?)\/(blobs\/uploads|blobs|manifests|tags|referrers)\/([^/]*)$/.exec(path) ?? [];
  const isRead = method === "GET" || method === "HEAD";
  const step = (): Step | undefined => {
    if (kind === "blobs") return isRead ? "blob" : undefined;
    if (kind === "manifests") return isRead ? "manifest" : method === "PUT" ? "manifest-put" : undefined;
    if (kind === "tags" && isRead) return "tags";
    if (kind === "referrers" && isRead) return "referrers";
    if (kind !== "blobs/uploads") return undefined;
    if (name === "" && method === "POST") return url.searchParams.has("mount") ? "mount" : "upload-start";
    return UPLOAD_STEPS[method];
  };
  const found = step();
  if (found === undefined) return undefined;
  return { step: found, repository, name: found === "mount" ? (url.searchParams.get("mount") ?? "") : name };
}

const UPLOAD_STEPS: Readonly<Record<string, Step>> = {
  PATCH: "upload-chunk",
  PUT: "upload-end",
  GET: "upload-status",
  DELETE: "upload-cancel",
};

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

function planOf(status: number, headers: Record<string, string | undefined>, body: Buffer = Buffer.alloc(0)): Plan {
  return {
    status,
    headers: { "Content-Length": String(body.length), ...headers },
    body,
    ending: "end",
    until: body.length,
    bytesPerSecond: undefined,
    isMute: false,
  };
}

function refusal(status: number, headers: Record<string, string> = {}, body = errorsOf(status)): Plan {
  return planOf(status, { "Content-Type": "application/json", ...headers }, Buffer.from(body));
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

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

// biome-ignore lint/suspicious/noExplicitAny: documents of any shape come in
function parsed(bytes: Buffer): any {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

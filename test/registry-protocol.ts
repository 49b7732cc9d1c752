import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { type Act, errorsOf, type Plan, type Step } from "./faults.ts";
import { type Content, contentOf } from "./oci-image.ts";

interface Upload {
  readonly repository: string;
  bytes: Buffer;
  /** A chunk came that was too small to be any but the last. */
  hasEnd?: boolean;
}

/** What a registry has, in memory. */
export interface Stock {
  readonly contents: Map<string, Content>;
  /** `repository@digest` of what each has, `repository:tag` to digests. */
  readonly links: Set<string>;
  readonly tags: Map<string, string>;
  readonly uploads: Map<string, Upload>;
  /** Scopes and uses left. */
  readonly tokens: Map<string, { readonly scopes: readonly string[]; uses: number }>;
}

export function emptyStock(): Stock {
  return { contents: new Map(), links: new Set(), tags: new Map(), uploads: new Map(), tokens: new Map() };
}

export interface ProtocolOptions {
  /** Where the registry is reached; known when it listens. */
  readonly url: () => string;
  readonly tokenUses: number | undefined;
  readonly minChunk: number | undefined;
  readonly referrers: boolean | undefined;
}

/** A request, its body as far as it came, and the faults that it meets. */
export interface Call {
  readonly request: IncomingMessage;
  readonly url: URL;
  readonly body: Buffer;
  readonly acts: readonly Act[];
  /** It gets another answer: nothing comes of it. */
  readonly isRefused: boolean;
}

export interface Route {
  readonly step: Step;
  readonly repository: string;
  /** A tag, a digest or an upload's id. */
  readonly name: string;
}

/** What a request asks for; undefined for what the protocol doesn't know. */
export function routeOf(method: string, url: URL): Route | undefined {
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

/** What a registry answers that does everything right but what it is told to do wrong. */
export class RegistryProtocol {
  readonly #stock: Stock;
  readonly #options: ProtocolOptions;

  constructor(stock: Stock, options: ProtocolOptions) {
    this.#stock = stock;
    this.#options = options;
  }

  has(repository: string, digest: string): boolean {
    return this.#stock.links.has(`${repository}@${digest}`);
  }

  keep(repository: string, content: Content): void {
    this.#stock.contents.set(content.digest, content);
    this.#stock.links.add(`${repository}@${content.digest}`);
  }

  answer(route: Route, call: Call): Plan {
    const { request, url, body, acts } = call;
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
    this.#stock.tokens.set(token, { scopes, uses: this.#options.tokenUses ?? Number.POSITIVE_INFINITY });
    const refresh = form.get("offline_token") === "true" ? { refresh_token: "joe-again" } : {};
    return planOf(
      200,
      { "Content-Type": "application/json" },
      Buffer.from(JSON.stringify({ token, access_token: token, expires_in: 300, ...refresh })),
    );
  }

  #content(route: Route, request: IncomingMessage, acts: readonly Act[]): Plan {
    const { repository, name } = route;
    const digest = name.includes(":") ? name : this.#stock.tags.get(`${repository}:${name}`);
    const content = digest === undefined ? undefined : this.#stock.contents.get(digest);
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
    const all = [...this.#stock.tags.keys()].filter((key) => key.startsWith(`${repository}:`));
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
    const found = [...this.#stock.contents.values()].filter((content) => {
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
    this.keep(repository, content);
    if (!name.includes(":")) this.#stock.tags.set(`${repository}:${name}`, content.digest);
    const heeded = this.#options.referrers === true && subject !== undefined ? { "OCI-Subject": subject.digest } : {};
    const place = `${this.#options.url()}/v2/${repository}/manifests/${content.digest}`;
    return planOf(201, { Location: place, "Docker-Content-Digest": content.digest, ...heeded });
  }

  #mount({ repository, name }: Route, url: URL, acts: readonly Act[]): Plan {
    const from = url.searchParams.get("from") ?? "";
    if (acts.some(({ kind }) => kind === "ignore-mount") || !this.has(from, name)) return this.#begin(repository, acts);
    this.#stock.links.add(`${repository}@${name}`);
    return planOf(201, {
      Location: `${this.#options.url()}/v2/${repository}/blobs/${name}`,
      "Docker-Content-Digest": name,
    });
  }

  #begin(repository: string, acts: readonly Act[]): Plan {
    const id = randomBytes(8).toString("hex");
    this.#stock.uploads.set(id, { repository, bytes: Buffer.alloc(0) });
    return planOf(202, { ...this.#place(repository, id, 0, acts), "Docker-Upload-UUID": id });
  }

  #upload({ step, repository, name: id }: Route, call: Pick<Call, "request" | "url" | "body" | "acts">): Plan {
    const upload = this.#stock.uploads.get(id);
    if (call.acts.some(({ kind }) => kind === "forget-session")) this.#stock.uploads.delete(id);
    if (upload === undefined || !this.#stock.uploads.has(id) || upload.repository !== repository) {
      return refusal(404, {}, errorsOf(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"));
    }
    const place = () => this.#place(repository, id, upload.bytes.length, call.acts);
    if (step === "upload-cancel") {
      this.#stock.uploads.delete(id);
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
    this.#stock.uploads.delete(id);
    if (content.digest !== call.url.searchParams.get("digest")) {
      return refusal(400, {}, errorsOf(400, "DIGEST_INVALID", "provided digest did not match uploaded content"));
    }
    this.keep(repository, content);
    const location = `${this.#options.url()}/v2/${repository}/blobs/${content.digest}`;
    return planOf(201, { Location: location, "Docker-Content-Digest": content.digest });
  }

  #place(repository: string, id: string, size: number, acts: readonly Act[]): Record<string, string> {
    const path = `/v2/${repository}/blobs/uploads/${id}?state=${randomBytes(4).toString("hex")}`;
    const to = acts.find((act) => act.kind === "location")?.to ?? this.#options.url();
    const { minChunk } = this.#options;
    return {
      Location: to === "relative" ? path : `${to}${path}`,
      Range: `0-${Math.max(0, size - 1)}`,
      ...(minChunk !== undefined && { "OCI-Chunk-Min-Length": String(minChunk) }),
    };
  }
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

export function refusal(status: number, headers: Record<string, string> = {}, body = errorsOf(status)): Plan {
  return planOf(status, { "Content-Type": "application/json", ...headers }, Buffer.from(body));
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

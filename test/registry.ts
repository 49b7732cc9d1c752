import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Certified, TestAuthority } from "./certificates.ts";
import { endChild, findProgram } from "./command.ts";
import { freePort } from "./free-port.ts";
import { makeTestRoot, removeTestRoot } from "./leftovers.ts";
import { type ProxyTls, type Recorded, RecordingProxy } from "./recording-proxy.ts";
import { TestTokenServer, type TokenServerOptions } from "./token-server.ts";

const PROGRAM = findProgram("docker-registry");
const READY_MS = 20_000;
const END_MS = 10_000;
const STARTS = 5;

export interface RegistryOptions {
  /** TLS with a certificate for the address, by an authority of the test's own; `client` also asks clients for theirs. */
  readonly tls?: boolean | "client";
  /** Passwords by name. */
  readonly htpasswd?: Readonly<Record<string, string>>;
  /** Tokens of a server of the test's own; true for its defaults. */
  readonly token?: TokenServerOptions | true;
  /** Whether content can be deleted; default true. */
  readonly delete?: boolean;
  /** The URL of a registry that this one passes on and keeps. */
  readonly proxyOf?: string;
  /** Where the recording side listens; default 127.0.0.1. */
  readonly address?: string;
  /** Further sections of its configuration, which take the place of those written here. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface RegistryAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What `test(name, { skip: registryMissing() }, …)` takes: false, or why there is no registry to test with. */
export function registryMissing(): string | false {
  return PROGRAM === undefined ? "Debian's docker-registry is not installed" : false;
}

/** Starts Debian's registry with storage, configuration and port of its own; it answers when this resolves. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  await using stack = new AsyncDisposableStack();
  const root = makeTestRoot();
  stack.defer(() => removeTestRoot(root));
  const address = options.address ?? "127.0.0.1";
  const authority = options.tls === undefined || options.tls === false ? undefined : new TestAuthority();
  const certificate = authority?.issue({ names: [address, "127.0.0.1", "localhost"] });
  const tokens =
    options.token === undefined
      ? undefined
      : stack.use(await TestTokenServer.start(options.token === true ? {} : options.token, certificate, address));
  const registry = new TestRegistry({ root, options, authority, certificate, tokens });
  stack.use(registry);
  await registry.start();
  const scheme = certificate === undefined ? "http" : "https";
  const proxy = stack.use(await RecordingProxy.start(`${scheme}://${registry.directHost}`, registry.tls, address));
  registry.adopt(proxy, stack.move());
  return registry;
}

export class TestRegistry implements AsyncDisposable {
  readonly root: string;
  /** Its content: `docker/registry/v2/{blobs,repositories}`. */
  readonly storage: string;
  readonly tokens: TestTokenServer | undefined;
  readonly authority: TestAuthority | undefined;
  /** A folder as `certs.d`, with one for each address of this registry; only with TLS. */
  readonly certsFolder: string;
  readonly #options: RegistryOptions;
  readonly #certificate: Certified | undefined;
  #own: Certified | undefined;
  #process: ChildProcess | undefined;
  #port = 0;
  #proxy: RecordingProxy | undefined;
  #parts: AsyncDisposableStack | undefined;

  constructor(parts: {
    readonly root: string;
    readonly options: RegistryOptions;
    readonly authority: TestAuthority | undefined;
    readonly certificate: Certified | undefined;
    readonly tokens: TestTokenServer | undefined;
  }) {
    this.root = parts.root;
    this.#options = parts.options;
    this.authority = parts.authority;
    this.#certificate = parts.certificate;
    this.tokens = parts.tokens;
    this.storage = join(this.root, "storage");
    this.certsFolder = join(this.root, "certs.d");
    mkdirSync(this.storage);
  }

  /** `address:port` of the side that records. */
  get host(): string {
    return this.#proxy?.host ?? this.directHost;
  }

  /** Whether it wants to know who asks. */
  get hasUsers(): boolean {
    return this.tokens !== undefined || this.#options.htpasswd !== undefined;
  }

  /** How its recording side speaks TLS; undefined without. */
  get tls(): ProxyTls | undefined {
    const { authority } = this;
    if (authority === undefined || this.#certificate === undefined) return undefined;
    const certificate = this.#certificate;
    if (this.#options.tls !== "client") return { certificate };
    return { certificate, clients: { authority: authority.certificate.cert, own: this.#clientCertificate(authority) } };
  }

  /** The registry itself, for what counts time: nothing is recorded there. */
  get directHost(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get url(): string {
    return `${this.#certificate === undefined ? "http" : "https"}://${this.host}`;
  }

  /** The authority's certificate, for clients that take a file. */
  get caFile(): string {
    return join(this.root, "ca.crt");
  }

  /** What was asked so far, in order. */
  get requests(): readonly Recorded[] {
    return this.#proxy?.requests ?? [];
  }

  get log(): string {
    return readFileSync(join(this.root, "registry.log"), "utf8");
  }

  forget(): void {
    this.#proxy?.requests.splice(0);
  }

  /** Requests of a method (or any) for a kind of content (or any), sent after the last `forget()`. */
  asked(method?: string, kind?: "blobs" | "manifests" | "uploads" | "tags" | "referrers"): Recorded[] {
    return this.requests.filter((request) => {
      const isUpload = /\/blobs\/uploads\//.test(request.path);
      const isKind =
        kind === undefined ||
        (kind === "uploads" ? isUpload : !isUpload && new RegExp(`^/v2/.*/${kind}/`).test(request.path));
      return isKind && (method === undefined || request.method === method);
    });
  }

  /** Bytes of blobs that were served; what a client no longer took may be counted, up to a buffer's size a request. */
  get blobBytesServed(): number {
    return this.asked("GET", "blobs").reduce((sum, { status, received }) => sum + (status < 300 ? received : 0), 0);
  }

  get blobBytesTaken(): number {
    return this.asked(undefined, "uploads").reduce((sum, { sent }) => sum + sent, 0);
  }

  /** One request past the recording side, trusted, and with the credentials it needs: the first user's. */
  async request(
    method: string,
    path: string,
    options: { readonly headers?: Readonly<Record<string, string>>; readonly body?: Uint8Array | string } = {},
  ): Promise<RegistryAnswer> {
    const url = new URL(path, `${this.#certificate === undefined ? "http" : "https"}://${this.directHost}`);
    const own = this.authority === undefined ? undefined : this.#clientCertificate(this.authority);
    const tls = { ca: this.authority?.certificate.cert, cert: own?.cert, key: own?.key };
    const headers = { ...this.#authorization(url.pathname), ...options.headers };
    return await new Promise((resolve, reject) => {
      const call = (this.#certificate === undefined ? httpRequest : httpsRequest)(
        url,
        { method, headers, agent: false, ...tls },
        (answer) => {
          const pieces: Buffer[] = [];
          answer.on("data", (piece: Buffer) => pieces.push(piece));
          answer.once("error", reject);
          answer.once("end", () =>
            resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(pieces) }),
          );
        },
      );
      call.once("error", reject);
      call.end(options.body);
    });
  }

  /** Ends the registry itself as a crash does; its address stays, and `start` brings it back. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async start(): Promise<void> {
    for (let tries = 1; ; tries++) {
      if (this.#port === 0 || tries > 1) this.#port = await freePort();
      this.#configure();
      if (await this.#serve()) return;
      if (tries === STARTS) throw new Error(`docker-registry did not start; its log:\n${this.log.slice(-3000)}`);
    }
  }

  adopt(proxy: RecordingProxy, parts: AsyncDisposableStack): void {
    this.#proxy = proxy;
    this.#parts = parts;
    this.#writeCertificates([proxy.host, this.directHost]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const parts = this.#parts;
    this.#parts = undefined;
    await parts?.disposeAsync();
    await this.#end("SIGKILL");
  }

  #authorization(path: string): Record<string, string> {
    const [name, password] = Object.entries(this.#options.htpasswd ?? {})[0] ?? [];
    if (name !== undefined) return { Authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}` };
    if (this.tokens === undefined) return {};
    const repository = /^\/v2\/(.+)\/(?:blobs|manifests|tags)\//.exec(path)?.[1];
    const scopes = repository === undefined ? [] : [`repository:${repository}:pull,push,delete`];
    const options = this.#options.token === true ? undefined : this.#options.token;
    const user = Object.keys(options?.users ?? { joe: "secret" })[0];
    return { Authorization: `Bearer ${this.tokens.token(user, scopes)}` };
  }

  #clientCertificate(authority: TestAuthority): Certified {
    this.#own ??= authority.issue({ usage: "client", commonName: "joe" });
    return this.#own;
  }

  #configure(): void {
    const { htpasswd, proxyOf } = this.#options;
    const tls = this.#certificate === undefined ? undefined : this.#tlsSection(this.#certificate);
    const config = {
      version: "0.1",
      log: { level: "warn", accesslog: { disabled: true } },
      storage: {
        filesystem: { rootdirectory: this.storage },
        delete: { enabled: this.#options.delete ?? true },
        maintenance: { uploadpurging: { enabled: false } },
      },
      http: { addr: this.directHost, secret: "a test's secret", ...(tls !== undefined && { tls }) },
      // Foreign layers are taken wherever they lie.
      validation: { enabled: true, manifests: { urls: { allow: [".*"] } } },
      ...(htpasswd !== undefined && { auth: { htpasswd: { realm: "a test", path: this.#passwords(htpasswd) } } }),
      ...(this.tokens !== undefined && { auth: { token: this.#tokenSection(this.tokens) } }),
      ...(proxyOf !== undefined && { proxy: { remoteurl: proxyOf } }),
      ...this.#options.config,
    };
    // JSON is YAML.
    writeFileSync(join(this.root, "config.yml"), `${JSON.stringify(config, undefined, 2)}\n`);
  }

  #tlsSection({ cert, key }: Certified): object {
    writeFileSync(join(this.root, "tls.crt"), cert);
    writeFileSync(join(this.root, "tls.key"), key);
    writeFileSync(this.caFile, this.authority?.certificate.cert ?? "");
    const files = { certificate: join(this.root, "tls.crt"), key: join(this.root, "tls.key") };
    return this.#options.tls === "client" ? { ...files, clientcas: [this.caFile] } : files;
  }

  #tokenSection(tokens: TestTokenServer): object {
    const bundle = join(this.root, "token.crt");
    writeFileSync(bundle, tokens.signer.cert);
    return { realm: tokens.url, service: tokens.service, issuer: tokens.issuer, rootcertbundle: bundle };
  }

  #passwords(users: Readonly<Record<string, string>>): string {
    const path = join(this.root, "htpasswd");
    writeFileSync(
      path,
      Object.entries(users)
        .map(([name, password]) => `${name}:${bcrypt(password)}\n`)
        .join(""),
    );
    return path;
  }

  /** True once it answers; false if it ended, as it does when somebody took its port. */
  async #serve(): Promise<boolean> {
    const log = openSync(join(this.root, "registry.log"), "a");
    const child = spawn(PROGRAM ?? "docker-registry", ["serve", join(this.root, "config.yml")], {
      stdio: ["ignore", log, log],
      env: { PATH: process.env.PATH, HOME: this.root, ...markOf(process.env) },
    });
    closeSync(log);
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()).once("error", () => resolve()));
    this.#process = child;
    const deadline = Date.now() + READY_MS;
    while (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      const answer = await this.request("GET", "/v2/").catch(() => undefined);
      if (answer !== undefined && answer.status < 500) return true;
      if (Date.now() > deadline) break;
      await Promise.race([ended, pause(10)]);
    }
    await this.#end("SIGKILL");
    return false;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child !== undefined) await endChild(child, signal, END_MS);
  }

  #writeCertificates(hosts: readonly string[]): void {
    if (this.authority === undefined) return;
    for (const host of hosts) {
      const folder = join(this.certsFolder, host);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "ca.crt"), this.authority.certificate.cert);
      if (this.#options.tls !== "client") continue;
      const own = this.#clientCertificate(this.authority);
      writeFileSync(join(folder, "client.cert"), own.cert);
      writeFileSync(join(folder, "client.key"), own.key);
    }
  }
}

/** The run's mark, by which the runner finds what a test forgot to end. */
function markOf(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return env.GANTRY_TEST_RUN === undefined ? {} : { GANTRY_TEST_RUN: env.GANTRY_TEST_RUN };
}

/** Perl is on every Debian and asks the C library, which knows bcrypt. */
function bcrypt(password: string): string {
  const salt = "$2y$04$abcdefghijklmnopqrstuu";
  return execFileSync("perl", ["-e", "print crypt($ARGV[0], $ARGV[1])", password, salt], { encoding: "utf8" });
}

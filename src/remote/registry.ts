import { GantryError } from "../base/errors.ts";
import type { Reference } from "../oci/reference.ts";
import { discard } from "./body.ts";
import { Caller } from "./caller.ts";
import { ANONYMOUS, type Credentials, credentialsFor } from "./credentials.ts";
import { type Download, download } from "./download.ts";
import { type Endpoint, endpointsOf } from "./endpoint.ts";
import { UnreachableError } from "./failure.ts";
import { isAmong } from "./insecure.ts";
import { type LoginResult, login } from "./login.ts";
import { type Observation, Observed } from "./observed.ts";
import { RateCeiling } from "./rate-ceiling.ts";
import { Reachability } from "./reachability.ts";
import { Repository } from "./repository.ts";
import type { RemotePorts, Waiting } from "./settings.ts";
import { Tokens } from "./token.ts";
import { Transport } from "./transport.ts";

/** All registries, as one engine talks to them. One instance an engine: it keeps connections and tokens. */
export class Registries {
  readonly #ports: RemotePorts;
  readonly #transport: Transport;
  readonly #tokens: Tokens;
  readonly #reachability: Reachability;
  readonly #downloads: RateCeiling;
  readonly #observed = new Observed();

  constructor(ports: RemotePorts) {
    this.#ports = ports;
    this.#downloads = new RateCeiling(() => ports.settings().maxDownloadRate);
    this.#reachability = new Reachability(ports);
    this.#transport = new Transport(ports);
    this.#tokens = new Tokens(this.#transport, ports);
  }

  /**
   * Runs `act` on the repository of a name, for reading: each of its requests goes to the mirrors first, and to http
   * only where the registry is insecure (or `insecure` says so) and https fails. `act` runs once.
   */
  async reading<T>(
    reference: Reference,
    credentials: Credentials,
    act: (repository: Repository) => Promise<T>,
    options: { readonly insecure?: boolean } = {},
  ): Promise<T> {
    const endpoints = await endpointsOf(reference, this.#ports, { ...options, mirrors: true });
    const own = credentialsFor(reference.domain, credentials);
    const callers = endpoints.map((endpoint) =>
      this.#caller(
        endpoint,
        // A mirror is another host: what was given for the registry is not for it.
        endpoint.isMirror ? ANONYMOUS : own,
        [`repository:${endpoint.prefix}${reference.path}:pull`],
      ),
    );
    return act(this.#repository(reference, callers));
  }

  /**
   * Like `reading`, without mirrors, with the right to push; and to pull from the repositories of the same registry
   * whose paths `alsoFrom` names, so that their blobs can be mounted; with `removes` with the right to remove instead.
   * The repository has one endpoint.
   */
  async writing<T>(
    reference: Reference,
    credentials: Credentials,
    options: { readonly alsoFrom?: readonly string[]; readonly insecure?: boolean; readonly removes?: boolean },
    act: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const others = [...new Set(options.alsoFrom)].filter((path) => path !== reference.path);
    const rights = options.removes === true ? "pull,delete" : "pull,push";
    const scopes = [`repository:${reference.path}:${rights}`, ...others.map((path) => `repository:${path}:pull`)];
    const caller = await this.#reachable(reference, credentials, scopes, options.insecure);
    return act(this.#repository(reference, [caller]));
  }

  /** Requests to a registry that are about none of its repositories, such as its catalog. */
  async asking<T>(
    domain: string,
    credentials: Credentials,
    scopes: readonly string[],
    act: (caller: Caller) => Promise<T>,
  ): Promise<T> {
    return act(await this.#reachable({ domain, path: "" }, credentials, scopes));
  }

  /** True for a registry that a list of hosts and ranges of addresses names, as the configuration has such lists. */
  isAmong(domain: string, list: readonly string[]): Promise<boolean> {
    return isAmong(domain, list, this.#ports);
  }

  /** Checks credentials at a registry; `address` as clients write it, empty for docker.io. */
  login(address: string, credentials: Credentials, waiting: Waiting): Promise<LoginResult> {
    return login(
      { ports: this.#ports, transport: this.#transport, tokens: this.#tokens },
      address,
      credentials,
      waiting,
    );
  }

  /** What a client names by a URL of its own, for an import. */
  download(url: string, waiting: Waiting): Promise<Download> {
    return download(this.#transport, url, waiting);
  }

  /** How it went with those that were used lately. */
  observations(): readonly Observation[] {
    return this.#observed.list();
  }

  close(): void {
    this.#transport.close();
  }

  /** The one endpoint of a registry that answers, with or without TLS. */
  async #reachable(
    { domain, path }: Pick<Reference, "domain" | "path">,
    credentials: Credentials,
    scopes: readonly string[],
    insecure = false,
  ): Promise<Caller> {
    const endpoints = await endpointsOf({ domain, path }, this.#ports, { mirrors: false, insecure });
    const own = credentialsFor(domain, credentials);
    const callers = this.#reachability.order(endpoints.map((each) => this.#caller(each, own, scopes)));
    const [first] = callers;
    if (first !== undefined && (callers.length === 1 || this.#reachability.hasAnswered(first.endpoint))) return first;
    let last: unknown;
    for (const caller of callers) {
      const { base, verify } = caller.endpoint;
      try {
        const ping = { method: "GET", url: new URL("v2/", base), verify } as const;
        discard((await this.#transport.send(ping, {})).body);
        this.#reachability.answered(caller.endpoint);
        return caller;
      } catch (error) {
        if (!(error instanceof UnreachableError)) throw error;
        this.#observed.failed(caller.endpoint.host, error.message);
        this.#reachability.failed(caller.endpoint);
        last = error;
      }
    }
    throw last;
  }

  #caller(endpoint: Endpoint, credentials: Credentials, scopes: readonly string[]): Caller {
    return new Caller({
      endpoint,
      transport: this.#transport,
      tokens: this.#tokens,
      credentials,
      scopes,
      observed: this.#observed,
    });
  }

  #repository(reference: Reference, callers: readonly Caller[]): Repository {
    const [first, ...rest] = callers;
    if (first === undefined) {
      throw new GantryError("internal", `cannot reach ${reference.domain}: it has no endpoint`);
    }
    return new Repository({
      reference,
      callers: [first, ...rest],
      reachability: this.#reachability,
      downloads: this.#downloads,
      settings: this.#ports.settings(),
    });
  }
}

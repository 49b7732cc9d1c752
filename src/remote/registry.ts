import { GantryError } from "../base/errors.ts";
import type { Reference } from "../oci/reference.ts";
import { Caller } from "./caller.ts";
import { ANONYMOUS, type Credentials } from "./credentials.ts";
import { type Download, download } from "./download.ts";
import { type Endpoint, endpointsOf } from "./endpoint.ts";
import { RefusedError, UnreachableError } from "./failure.ts";
import { type LoginResult, login } from "./login.ts";
import { Repository } from "./repository.ts";
import type { RemotePorts, Waiting } from "./settings.ts";
import { Tokens } from "./token.ts";
import { Transport } from "./transport.ts";

/** All registries, as one engine talks to them. One instance an engine: it keeps connections and tokens. */
export class Registries {
  readonly #ports: RemotePorts;
  readonly #transport: Transport;
  readonly #tokens: Tokens;

  constructor(ports: RemotePorts) {
    this.#ports = ports;
    this.#transport = new Transport(ports);
    this.#tokens = new Tokens(this.#transport, ports);
  }

  /**
   * Runs `act` on the repository of a name at the first endpoint where it succeeds: mirrors first, http only where
   * the registry is insecure and https fails. Throws the last endpoint's error.
   */
  async reading<T>(
    reference: Reference,
    credentials: Credentials,
    act: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const endpoints = await endpointsOf(reference.domain, this.#ports, { mirrors: true });
    let last: unknown;
    for (const endpoint of endpoints) {
      const caller = new Caller({
        endpoint,
        transport: this.#transport,
        tokens: this.#tokens,
        // A mirror is another host: what was given for docker.io is not for it.
        credentials: endpoint.isMirror ? ANONYMOUS : credentials,
        scopes: [`repository:${reference.path}:pull`],
      });
      try {
        return await act(new Repository(caller, reference, this.#transport.limits));
      } catch (error) {
        if (!mayTryNext(endpoint, error)) throw error;
        last = error;
      }
    }
    throw last ?? new GantryError("internal", `cannot reach ${reference.domain}: it has no endpoint`);
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

  close(): void {
    this.#transport.close();
  }
}

/** A mirror may miss what the registry has; a registry that answered has said its word. */
function mayTryNext({ isMirror }: Endpoint, error: unknown): boolean {
  if (isMirror) return !(error instanceof GantryError && error.kind === "cancelled");
  return error instanceof UnreachableError && !(error instanceof RefusedError);
}

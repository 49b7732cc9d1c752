import type { LookupAddress } from "node:dns";

/** Proxies as the environment or the configuration names them; empty texts for none. */
export interface ProxySettings {
  readonly http: string;
  readonly https: string;
  /** Comma-separated hosts, domains, addresses and ranges that are reached directly. */
  readonly exceptions: string;
}

/** The engine's configuration as far as it concerns registries. */
export interface RemoteSettings {
  /** `host[:port]` or a range of addresses; loopback always belongs to them. */
  readonly insecureRegistries: readonly string[];
  /** URLs that are asked for docker.io's images first. */
  readonly mirrors: readonly string[];
  /** Folders with a folder a registry, first wins: `/etc/docker/certs.d`. */
  readonly certificateFolders: readonly string[];
  readonly proxies: ProxySettings;
  readonly userAgent: string;
}

/** Milliseconds. */
export interface TimeLimits {
  /** From the request to the answer's head, connecting included. */
  readonly head: number;
  /** Between two pieces of a body. */
  readonly idle: number;
  /** For a whole document. */
  readonly document: number;
  /** The longest `Retry-After` that is waited for. */
  readonly retryAfter: number;
}

export const TIME_LIMITS: TimeLimits = { head: 30_000, idle: 60_000, document: 60_000, retryAfter: 15_000 };

export interface RemotePorts {
  /** Read anew at each use: a reload may have changed it. */
  readonly settings: () => RemoteSettings;
  /** Addresses of a host; rejects if it has none. */
  readonly lookup?: (host: string) => Promise<readonly Pick<LookupAddress, "address">[]>;
  readonly limits?: Partial<TimeLimits>;
}

export interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

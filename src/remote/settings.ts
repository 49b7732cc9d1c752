import type { LookupAddress } from "node:dns";
import type { IncomingHttpHeaders } from "node:http";
import type { RegistryRules } from "./registry-rules.ts";

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
  readonly registries: RegistryRules;
  /** Folders with a folder a registry, first wins: `/etc/docker/certs.d`. */
  readonly certificateFolders: readonly string[];
  readonly proxies: ProxySettings;
  readonly userAgent: string;
  readonly maxConcurrentDownloads: number;
  readonly maxConcurrentUploads: number;
  /** Bytes a second that a download must bring; 0 for none. */
  readonly minTransferRate: number;
  /** Bytes a second that all downloads together, or all uploads, move at most; 0 for no bound. */
  readonly maxDownloadRate: number;
  readonly maxUploadRate: number;
  /** Milliseconds that a registry may say nothing; an upload's end has longer. */
  readonly silence: number;
  /** Tries in a row of a blob that bring no new byte. */
  readonly maxDownloadAttempts: number;
}

/** Milliseconds. */
export interface TimeLimits {
  /** From the request to the answer's head, connecting included; the settings' `silence` unless told otherwise. */
  readonly head: number;
  /** Between two pieces of a body; the same. */
  readonly idle: number;
  /** Over which a download's rate is taken. */
  readonly rateWindow: number;
  /** For a whole document. */
  readonly document: number;
  /** From the last piece of a body that was sent to the answer's head: registries check and move it meanwhile. */
  readonly upload: number;
  /** The longest `Retry-After` that is waited for. */
  readonly retryAfter: number;
  /** The wait after a first failure, about; it doubles until it is the longest. */
  readonly backOff: number;
  readonly longestBackOff: number;
}

export const TIME_LIMITS: Omit<TimeLimits, "head" | "idle"> = {
  rateWindow: 60_000,
  document: 60_000,
  upload: 300_000,
  retryAfter: 120_000,
  backOff: 500,
  longestBackOff: 15_000,
};

export interface RemotePorts {
  /** Read anew at each use: a reload may have changed it. */
  readonly settings: () => RemoteSettings;
  /** Addresses of a host; rejects if it has none. */
  readonly lookup?: (host: string) => Promise<readonly Pick<LookupAddress, "address">[]>;
  readonly limits?: Partial<TimeLimits>;
  /** Called when a mirror does not do what it is for, and another place is asked; at most once a minute for each. */
  readonly onPassedOver?: (mirror: string, failure: unknown) => void;
}

export interface Waiting {
  readonly signal?: AbortSignal | undefined;
  /** Called before a wait for another try, with its milliseconds and what failed: for people who watch. */
  readonly onWait?: ((milliseconds: number, failure: unknown) => void) | undefined;
  /** Called with the headers of manifests as they come: some tell how many more may be asked for. */
  readonly onManifest?: ((headers: IncomingHttpHeaders) => void) | undefined;
}

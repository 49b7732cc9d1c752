import type { ProxySettings } from "../../remote/settings.ts";

/** What of the engine's configuration concerns sources. */
export interface SourceSettings {
  /** Ranges that no build may fetch from, beside its own: `private`, an address or a range each. */
  readonly denyRanges: readonly string[];
  readonly proxies: ProxySettings;
  readonly userAgent: string;
  /** Milliseconds that a server may say nothing. */
  readonly silence: number;
  /** Bytes that an archive may unpack to for each of its own; a gigabyte in any case. */
  readonly maxUnpackRatio: number;
}

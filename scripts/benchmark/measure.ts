import type { PartRow } from "./parts.ts";
import type { Peer } from "./peer.ts";

/** What every container of the bench is made of. */
export const IMAGE = "busybox:latest";

/** One thing that is measured of each peer in turn. */
export interface Measure {
  readonly name: string;
  /** `×` is a ratio: how many times what it is compared with takes. Of what has a `/s`, more is better. */
  readonly unit: "ms" | "MiB" | "×" | "processes" | "/s" | "Gbit/s";
  /** What `--only` finds it by besides its name. */
  readonly group?: "networks" | "builds";
  readonly rounds: number;
  readonly warmUp: number;
  /** Why it can't be measured on this machine; `false` if it can. */
  readonly skip?: string | false;
  readonly before?: (peer: Peer) => Promise<unknown>;
  readonly once: (peer: Peer) => Promise<number>;
  readonly after?: (peer: Peer) => Promise<unknown>;
  /** What the first peer's time went to. */
  readonly parts?: () => readonly PartRow[];
}

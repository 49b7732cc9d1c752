/** GET /volumes/{name}, and a row of GET /volumes. */
export interface Volume {
  readonly Name: string;
  readonly Driver: string;
  readonly Mountpoint: string;
  readonly CreatedAt: string;
  readonly Labels: Readonly<Record<string, string>> | null;
  readonly Options: Readonly<Record<string, string>> | null;
  readonly Scope: "local" | "global";
  /** What a plugin says of it: only of one volume, when it was asked for. */
  readonly Status?: Readonly<Record<string, unknown>>;
  /** Only where it was asked for. */
  readonly UsageData?: { readonly Size: number; readonly RefCount: number } | null;
}

/** GET /volumes. */
export interface VolumeListResponse {
  readonly Volumes: readonly Volume[];
  readonly Warnings: readonly string[] | null;
}

/** POST /volumes/prune. */
export interface VolumesPruneResponse {
  readonly VolumesDeleted: string[];
  /** Bytes. */
  readonly SpaceReclaimed: number;
}

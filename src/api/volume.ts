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

/** A volume as it once was: a row of GET /gantry/volumes/{name}/snapshots. */
export interface VolumeSnapshot {
  readonly Name: string;
  readonly Volume: string;
  readonly CreatedAt: string;
  /** Bytes of its files. */
  readonly Size: number;
  /** Its blocks are shared with the volume until either changes: it took no room when it was made. */
  readonly Shared: boolean;
}

/** A container that mounts a volume. */
export interface VolumeUse {
  readonly Id: string;
  readonly Name: string;
  readonly State: "running" | "paused" | "stopped";
  readonly ReadOnly: boolean;
}

/** A row of GET /gantry/volumes/usage. */
export interface VolumeUsage {
  readonly Name: string;
  readonly Driver: string;
  readonly CreatedAt: string;
  /** It was made for a container without a name. */
  readonly Anonymous: boolean;
  /** Bytes of its files; -1 where the content is not on this machine's disk. */
  readonly Size: number;
  /** Bytes of the disk that the files take: less than the size where they have holes. -1 as with the size. */
  readonly Taken: number;
  /** The most that it may hold, in bytes; 0 for no limit. */
  readonly Limit: number;
  readonly Snapshots: readonly VolumeSnapshot[];
  readonly Containers: readonly VolumeUse[];
}

import type { ContainerSummary } from "./container.ts";
import type { ImageSummary } from "./image.ts";
import type { Volume } from "./volume.ts";

/** What `type` of GET /system/df asks for. */
export const DISK_USAGE_TYPES = ["container", "image", "volume", "build-cache"] as const;
export type DiskUsageType = (typeof DISK_USAGE_TYPES)[number];

/** GET /system/df. null for what was not asked for. */
export interface DiskUsage {
  /** Bytes of all layers of images, each counted once. */
  LayersSize: number;
  Images: ImageSummary[] | null;
  Containers: ContainerSummary[] | null;
  Volumes: Volume[] | null;
  BuildCache: BuildCacheRow[] | null;
  /** Before API 1.42. */
  BuilderSize?: number;
}

/** POST /build/prune. */
export interface BuildPruneResponse {
  /** Ids of rows. */
  CachesDeleted: string[] | null;
  /** Bytes. */
  SpaceReclaimed: number;
}

/** One row of the builder's cache. */
export interface BuildCacheRow {
  ID: string;
  /** Ids of rows that it stands on; absent where there are none. */
  Parents?: string[];
  Type: string;
  Description: string;
  InUse: boolean;
  Shared: boolean;
  /** Bytes. */
  Size: number;
  CreatedAt: string;
  LastUsedAt: string | null;
  UsageCount: number;
}

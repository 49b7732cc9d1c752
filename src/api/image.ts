import type { ContainerConfig } from "./container.ts";

/** GET /images/{name}/json. */
export interface ImageInspect {
  /** `sha256:…` of the image config. */
  Id: string;
  RepoTags: string[];
  RepoDigests: string[];
  Parent: string;
  Comment: string;
  Created: string;
  DockerVersion: string;
  Author: string;
  Config: ContainerConfig | null;
  Architecture: string;
  Variant?: string;
  Os: string;
  /** Bytes of all layers unpacked. */
  Size: number;
  VirtualSize?: number;
  GraphDriver: { Name: string; Data: Record<string, string> | null };
  RootFS: { Type: "layers"; Layers?: string[] };
  Metadata: { LastTagTime: string };
}

/** One row of GET /images/json. */
export interface ImageSummary {
  Id: string;
  ParentId: string;
  RepoTags: string[];
  RepoDigests: string[];
  /** Unix seconds. */
  Created: number;
  Size: number;
  /** -1 when not asked for. */
  SharedSize: number;
  VirtualSize?: number;
  Labels: Record<string, string> | null;
  /** -1 when not counted. */
  Containers: number;
}

export interface ImageHistoryRow {
  Id: string;
  Created: number;
  CreatedBy: string;
  Tags: string[] | null;
  Size: number;
  Comment: string;
}

export type ImageDeleteRow = { Untagged: string } | { Deleted: string };

/** One line of a progress stream, as the docker CLI draws it. */
export interface ProgressMessage {
  stream?: string;
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  progress?: string;
  error?: string;
  errorDetail?: { code?: number; message: string };
  aux?: unknown;
}

/** POST /images/prune. */
export interface ImagesPruneResponse {
  ImagesDeleted: ImageDeleteRow[] | null;
  /** Bytes. */
  SpaceReclaimed: number;
}

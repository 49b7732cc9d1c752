import type { ContainerConfig } from "./container.ts";
import type { ImageDescriptor, ImagePlatform } from "./image-descriptor.ts";

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
  /** Before API 1.44. */
  VirtualSize?: number;
  GraphDriver: { Name: string; Data: Record<string, string> | null };
  RootFS: { Type: "layers"; Layers?: string[] };
  Metadata: { LastTagTime: string };
  /** Since API 1.48. */
  Descriptor?: ImageDescriptor;
  /** Only where they were asked for. */
  Manifests?: ImageManifestSummary[];
  /** Before API 1.45. */
  Container?: string;
  ContainerConfig?: ContainerConfig | null;
}

/** A manifest that an image has, since API 1.47. */
export interface ImageManifestSummary {
  ID: string;
  Descriptor: ImageDescriptor;
  /** All of its content is here. */
  Available: boolean;
  /** Bytes: of the blobs, and of them and what they unpack to. */
  Size: { Content: number; Total: number };
  Kind: "image" | "attestation" | "unknown";
  /** Of an image. */
  ImageData?: {
    Platform: ImagePlatform;
    /** Ids of the containers made of it. */
    Containers: string[];
    Size: { Unpacked: number };
  };
  /** Of an attestation. */
  AttestationData?: {
    /** Digest of the manifest that it is about. */
    For: string;
  };
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
  /** Before API 1.44. */
  VirtualSize?: number;
  Labels: Record<string, string> | null;
  /** -1 before API 1.51. */
  Containers: number;
  /** Since API 1.48. */
  Descriptor?: ImageDescriptor;
  /** Only where they were asked for. */
  Manifests?: ImageManifestSummary[];
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

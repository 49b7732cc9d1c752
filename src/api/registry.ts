import * as go from "./shape.ts";

/** Body of POST /auth. Older clients call the identity token by the same name as the answer does. */
export interface AuthConfig {
  username: string;
  password: string;
  /** Empty for docker.io. */
  serveraddress: string;
  identitytoken: string;
  registrytoken: string;
}

export const authConfig = go.struct<AuthConfig>("registry.AuthConfig", {
  username: go.text,
  password: go.text,
  serveraddress: go.text,
  identitytoken: go.text,
  registrytoken: go.text,
});

export interface AuthResponse {
  Status: string;
  /** Stands for name and password from now on; empty if the registry gave none. */
  IdentityToken: string;
}

/** PUT /gantry/distribution/{name}/manifest. */
export interface ManifestPutResponse {
  Digest: string;
  /** Bytes. */
  Size: number;
  MediaType: string;
}

/** GET /gantry/distribution/{name}/tags. */
export interface RepositoryTags {
  /** As it is written in commands. */
  Name: string;
  /** In the registry's order. */
  Tags: string[];
}

/** GET /gantry/images/pull. */
export interface PullPlan {
  Name: string;
  /** Of what the name points to. */
  Digest: string;
  ImageID: string;
  /** `linux/arm64/v8`. */
  Platform: string;
  /** Whether the image is here. */
  Here: boolean;
  /** Bytes of its layers as the registry has them, each counted once. */
  Size: number;
  /** How many of these are not here yet. */
  Missing: number;
  /** Bottom first. */
  Layers: PlannedLayer[];
  /** Where the registry tells it. */
  RateLimit?: RateLimit;
}

export interface PlannedLayer {
  Digest: string;
  /** Bytes. */
  Size: number;
  Missing: number;
}

/** How many pulls a registry lets its client have. */
export interface RateLimit {
  Limit: number;
  Remaining: number;
  /** Of the time that they are counted in; 0 where it isn't told. */
  Seconds: number;
}

/** GET /distribution/{name}/json. */
export interface DistributionInspect {
  Descriptor: { mediaType: string; digest: string; size: number };
  Platforms: DistributionPlatform[] | null;
}

export interface DistributionPlatform {
  architecture: string;
  os: string;
  "os.version"?: string;
  "os.features"?: string[];
  variant?: string;
}

/** A row of GET /images/search. */
export interface SearchResult {
  star_count: number;
  is_official: boolean;
  name: string;
  /** Always false: registries build no images any more. */
  is_automated: boolean;
  description: string;
}

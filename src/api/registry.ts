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

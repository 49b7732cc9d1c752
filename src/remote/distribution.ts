import { GantryError, isKind } from "../base/errors.ts";
import { isDigest } from "../oci/digest-format.ts";
import type { Descriptor, Platform } from "../oci/image.ts";
import { parseImageConfig } from "../oci/image-config.ts";
import { isIdentifier, parseNormalized, tagNameOnly } from "../oci/reference.ts";
import type { Credentials } from "./credentials.ts";
import type { Registries } from "./registry.ts";
import type { Repository } from "./repository.ts";
import type { Waiting } from "./settings.ts";

/** GET /distribution/{name}/json. */
export interface DistributionInspect {
  readonly Descriptor: Descriptor;
  readonly Platforms: readonly Platform[] | null;
}

/** What a name points to at its registry, and for which platforms there is an image. */
export async function inspectDistribution(
  registries: Registries,
  name: string,
  credentials: Credentials,
  waiting: Waiting,
  options: { readonly insecure?: boolean } = {},
): Promise<DistributionInspect> {
  if (isIdentifier(name) || isDigest(name)) throw new GantryError("internal", "no manifest found for full image ID");
  const reference = tagNameOnly(parseNormalized(name));
  const wanted = reference.digest ?? reference.tag ?? "";
  const inspect = async (repository: Repository): Promise<DistributionInspect> => {
    const digest = reference.digest ?? (await repository.resolve(wanted, waiting)).digest;
    const document = await repository.manifest(digest, waiting);
    const { mediaType, size } = document.descriptor;
    return {
      Descriptor: { mediaType, digest, size },
      Platforms:
        document.kind === "index"
          ? document.index.manifests.map(({ platform }) => ({ architecture: "", os: "", ...platform }))
          : await platformOf(repository, document.manifest.config, waiting),
    };
  };
  return registries.reading(reference, credentials, inspect, options);
}

/** A config that isn't an image's says nothing of platforms. */
async function platformOf(
  repository: Repository,
  config: Descriptor,
  waiting: Waiting,
): Promise<readonly Platform[] | null> {
  try {
    const { architecture, os, variant, ...rest } = parseImageConfig(await repository.document(config, waiting));
    const version = rest["os.version"];
    if (architecture === "") return null;
    return [
      {
        architecture,
        os,
        ...(version !== undefined && { "os.version": version }),
        ...(variant !== undefined && { variant }),
      },
    ];
  } catch (error) {
    if (isKind(error, "cancelled")) throw error;
    return null;
  }
}

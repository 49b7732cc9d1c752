import { GantryError } from "../../base/errors.ts";
import {
  type ResolveImageConfigRequest,
  ResolveImageConfigResponseSchema,
  type ResolveSourceMetaRequest,
  ResolveSourceMetaResponseSchema,
} from "../../buildkit/gateway.ts";
import { create } from "../../buildkit/message.ts";
import type { Platform as AskedPlatform } from "../../buildkit/operations.ts";
import type { ImageConfig, Platform } from "../../oci/image.ts";
import { hostPlatform } from "../../oci/platform.ts";
import type { AskedSource, DescribedSource } from "../asked-source.ts";
import { platformOf } from "../definition/plan-definition.ts";
import { folderOperation, layoutName, pulls } from "../definition/source-root.ts";

type Describe = (asked: AskedSource) => Promise<DescribedSource>;

const IMAGE = "docker-image://";
const LAYOUT = "oci-layout://";
const OF_LAYOUT = 1;

/** What an image's config is, by its name. */
export async function imageConfig(request: ResolveImageConfigRequest, describe: Describe) {
  const { Platform, Ref, ResolveMode, ResolverType, StoreID } = request;
  refusePolicies(request);
  const platform = wantedPlatform(Platform);
  const asked: AskedSource =
    ResolverType === OF_LAYOUT
      ? { kind: "layout", reference: layoutName(Ref, StoreID), platform }
      : { kind: "image", reference: Ref, platform, pull: pulls(ResolveMode) };
  const { config, digest, reference } = await describe(asked);
  return create(ResolveImageConfigResponseSchema, { Digest: digest, Config: bytesOf(config), Ref: reference ?? Ref });
}

/** What a source is now: an image's digest and config, a commit, the digest of a file. */
export async function sourceMeta(request: ResolveSourceMetaRequest, describe: Describe) {
  const { Git, HTTP, Image, Platform, ResolveMode, Source } = request;
  refusePolicies(request);
  if (Source === undefined) throw new GantryError("invalid", "a source is asked for that is not named");
  const { attrs, identifier } = Source;
  const platform = wantedPlatform(Platform);
  if (identifier.startsWith(IMAGE) || identifier.startsWith(LAYOUT)) {
    if (Image?.AttestationChain || (Image?.ResolveAttestations.length ?? 0) > 0) {
      throw new GantryError("unsupported", "attestations of sources are not told here");
    }
    const asked: AskedSource = identifier.startsWith(IMAGE)
      ? {
          ...{ kind: "image", reference: identifier.slice(IMAGE.length), platform },
          pull: pulls(ResolveMode || attrs["image.resolvemode"]),
        }
      : { kind: "layout", reference: layoutName(identifier.slice(LAYOUT.length), attrs["oci.store"]), platform };
    const { config, digest } = await describe(asked);
    return create(ResolveSourceMetaResponseSchema, {
      Source,
      Image: { Digest: digest, ...(Image?.NoConfig !== true && { Config: bytesOf(config) }) },
    });
  }
  const operation = folderOperation(Source);
  if (operation === undefined) {
    throw new GantryError("unsupported", `nothing is told of the source ${JSON.stringify(identifier.slice(0, 200))}`);
  }
  if (Git?.ReturnObject) throw new GantryError("unsupported", "objects of repositories are not told here");
  if (HTTP !== undefined && HTTP.ChecksumRequest.length > 0) {
    throw new GantryError("unsupported", "digests with suffixes are not told here");
  }
  const { digest } = await describe(operation);
  if (operation.kind === "git") {
    const commit = digest.slice(digest.indexOf(":") + 1);
    return create(ResolveSourceMetaResponseSchema, { Source, Git: { Checksum: commit, Ref: operation.ref } });
  }
  const Filename = operation.filename ?? (new URL(operation.url).pathname.split("/").at(-1) || "download");
  return create(ResolveSourceMetaResponseSchema, { Source, HTTP: { Checksum: digest, Filename } });
}

/** Rules of a client's by which sources would be replaced: there are no means for them. */
export function refusePolicies({ SourcePolicies }: { readonly SourcePolicies: readonly unknown[] }): void {
  if (SourcePolicies.length > 0) throw new GantryError("unsupported", "source policies are not supported");
}

function wantedPlatform(asked: AskedPlatform | undefined): Platform {
  return asked === undefined ? hostPlatform() : platformOf(asked);
}

function bytesOf(config: ImageConfig | undefined): Uint8Array {
  return config === undefined ? new Uint8Array() : Buffer.from(JSON.stringify(config));
}

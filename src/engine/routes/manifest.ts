import type { ManifestPutResponse, RepositoryTags } from "../../api/registry.ts";
import { GantryError } from "../../base/errors.ts";
import type { ImageRegistry } from "../../images/image.ts";
import { missingError } from "../../images/pull-error.ts";
import { familiarName, familiarString, isNameOnly, parseNormalized, tagNameOnly } from "../../oci/reference.ts";
import { decodeRegistryConfig } from "../../remote/credentials.ts";
import { readManifest } from "../../remote/document.ts";
import type { Registries } from "../../remote/registry.ts";
import { removeFromRegistry } from "../../remote/removal.ts";
import type { Repository } from "../../remote/repository.ts";
import { json, stream } from "../answer.ts";
import type { Handlers, RouteRequest } from "../route-request.ts";
import { credentialsOrNobody } from "./registry.ts";

type ManifestRoutes = Pick<
  Handlers,
  "distributionManifest" | "distributionManifestDelete" | "distributionManifestPut" | "distributionTags"
>;

/** Registries take none that are longer. */
const MOST_BYTES = 4 << 20;
const MOST_SOURCES = 64;

/** Manifests as they lie in registries. */
export function manifestRoutes(images: Pick<ImageRegistry, "putManifest">, registries: Registries): ManifestRoutes {
  return {
    distributionManifest: async ({ header, params, query, signal }) => {
      const reference = tagNameOnly(parseNormalized(params.name!));
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      const { bytes, descriptor } = await registries.reading(
        reference,
        credentials,
        (repository) => repository.manifest(reference.digest ?? reference.tag ?? "", { signal }),
        { insecure: query.insecure },
      );
      const headers = { "Docker-Content-Digest": descriptor.digest, "Content-Length": String(bytes.length) };
      return stream(descriptor.mediaType, once(bytes), headers);
    },
    distributionManifestDelete: async ({ header, params, query: { insecure }, signal }) => {
      const reference = parseNormalized(params.name!);
      if (isNameOnly(reference)) {
        throw new GantryError("invalid", "cannot remove a whole repository: name a tag or a digest of it");
      }
      if (reference.tag !== undefined && reference.digest !== undefined) {
        const why = "by its digest an image goes with all of its tags: name the tag or the digest alone";
        throw new GantryError("invalid", `cannot remove ${familiarString(reference)}: ${why}`);
      }
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      await removeFromRegistry(registries, reference, credentials, { insecure }, { signal });
      const name = familiarString(reference);
      return json(reference.digest === undefined ? [{ Untagged: name }] : [{ Deleted: name }]);
    },
    distributionTags: async ({ header, params, query: { insecure }, signal }) => {
      const reference = parseNormalized(params.name!);
      if (!isNameOnly(reference)) throw new GantryError("invalid", "cannot list the tags of a tag: name a repository");
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      const list = (repository: Repository): Promise<string[]> => Array.fromAsync(repository.tags({ signal }));
      const tags = await registries.reading(reference, credentials, list, { insecure }).catch((error: unknown) => {
        throw missingError(error, reference);
      });
      return json({ Name: familiarName(reference), Tags: tags } satisfies RepositoryTags);
    },
    distributionManifestPut: async (request) => {
      const { header, params, query, signal } = request;
      const reference = tagNameOnly(parseNormalized(params.name!));
      if (query.from.length > MOST_SOURCES) {
        throw new GantryError("invalid", `cannot put the manifest: more than ${MOST_SOURCES} repositories are named`);
      }
      const from = query.from.map((text) => parseNormalized(text));
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      const credentialsOf = decodeRegistryConfig(header("x-registry-config"));
      const document = readManifest(await bytesOf(request), header("content-type") ?? "", familiarString(reference));
      const options = { from, insecure: query.insecure, credentials, credentialsOf };
      await images.putManifest(reference, document, options, { signal });
      const { digest, mediaType, size } = document.descriptor;
      return json({ Digest: digest, Size: size, MediaType: mediaType } satisfies ManifestPutResponse, 201);
    },
  };
}

async function bytesOf({ body, contentLength }: RouteRequest<"distributionManifestPut">): Promise<Buffer> {
  const tooLong = new GantryError("invalid", `cannot put the manifest: it is longer than ${MOST_BYTES} bytes`);
  if ((contentLength ?? 0) > MOST_BYTES) throw tooLong;
  const pieces: Uint8Array[] = [];
  let size = 0;
  // Left unread and not destroyed: the refusal has yet to be answered.
  for await (const piece of body().iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
    size += piece.length;
    if (size > MOST_BYTES) throw tooLong;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

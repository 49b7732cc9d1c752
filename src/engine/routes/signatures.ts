import { decodeJson } from "../../api/decode.ts";
import {
  type ImageSignatures,
  type SignaturesPutResponse,
  type SignedManifest,
  signaturesPutRequest,
} from "../../api/signature.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { missingError } from "../../images/pull-error.ts";
import { isDigest } from "../../oci/digest-format.ts";
import type { Descriptor } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";
import {
  familiarString,
  formatReference,
  parseNormalized,
  type Reference,
  repositoryOf,
  tagNameOnly,
} from "../../oci/reference.ts";
import { type Credentials, decodeCredentials } from "../../remote/credentials.ts";
import type { ManifestDocument } from "../../remote/document.ts";
import type { Registries } from "../../remote/registry.ts";
import type { Repository } from "../../remote/repository.ts";
import type { Waiting } from "../../remote/settings.ts";
import { allSignatures, attachSignatures } from "../../trust/attached.ts";
import { MOST_PAYLOAD, readPayload } from "../../trust/payload.ts";
import { decodeBase64 } from "../../trust/signature-manifest.ts";
import { json } from "../answer.ts";
import { attachmentSource, attachmentTarget } from "../attachments.ts";
import type { Handlers } from "../route-request.ts";

type SignatureRoutes = Pick<Handlers, "signatureList" | "signaturePut">;

/** Images of an index that are looked at one by one. */
const MOST_IMAGES = 128;
const AT_ONCE = 4;
const MOST_ADDED = 2 * MOST_IMAGES;

/** Signatures as they lie in registries: nothing is checked by a key here, and no private key comes here. */
export function signatureRoutes(registries: Registries): SignatureRoutes {
  // Signers that use one engine wait for each other: only those of other machines have to be raced.
  const writing = new KeyedLock();
  return {
    signatureList: async ({ params, query, header, signal }) => {
      const reference = tagNameOnly(parseNormalized(params.name ?? ""));
      const credentials = decodeCredentials(header("x-registry-auth"));
      const manifests = await registries.reading(reference, credentials, (repository) =>
        signedManifests(repository, reference, query.recursive, { signal }),
      );
      return json({ Name: formatReference(reference), Manifests: manifests } satisfies ImageSignatures);
    },
    signaturePut: async (request) => {
      const reference = parseNormalized(request.params.name ?? "");
      const { Signatures } = decodeJson(signaturesPutRequest, await request.document());
      const added = checked(Signatures ?? []);
      const { signal } = request;
      const credentials = decodeCredentials(request.header("x-registry-auth"));
      const put = () => putSignatures(registries, reference, credentials, added, { signal });
      return json(await writing.run(repositoryOf(reference), put), 201);
    },
  };
}

async function signedManifests(
  repository: Repository,
  reference: Reference,
  isRecursive: boolean,
  waiting: Waiting,
): Promise<SignedManifest[]> {
  const document = await documentOf(repository, reference, waiting);
  const members = isRecursive && document.kind === "index" ? document.index.manifests : [];
  if (members.length > MOST_IMAGES) {
    throw new GantryError(
      "invalid",
      `cannot look at all of ${familiarString(reference)}: it has ${members.length} images, more than ${MOST_IMAGES}`,
    );
  }
  const all: Descriptor[] = [document.descriptor, ...members];
  const found: SignedManifest[] = [];
  const queue = all.entries();
  const source = attachmentSource(repository, waiting);
  const worker = async () => {
    for (const [at, { digest, mediaType, platform }] of queue) {
      const { signatures, problem } = await allSignatures(source, digest);
      found[at] = {
        Digest: digest,
        MediaType: mediaType,
        Platform: platform == null ? "" : formatPlatform(platform),
        Signatures: signatures.map(({ payload, signature }) => ({
          Payload: Buffer.from(payload).toString("base64"),
          Signature: Buffer.from(signature).toString("base64"),
        })),
        Problem: problem ?? "",
      };
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return found;
}

async function documentOf(repository: Repository, reference: Reference, waiting: Waiting): Promise<ManifestDocument> {
  try {
    return await repository.manifest(reference.digest ?? reference.tag ?? "", waiting);
  } catch (error) {
    throw missingError(error, reference);
  }
}

interface Added {
  readonly digest: string;
  readonly payload: Buffer;
  readonly signature: Buffer;
}

/** Refuses what no reader would take, so that nobody's slip lies in a registry for ever. */
function checked(
  given: readonly { readonly Digest: string; readonly Payload: string; readonly Signature: string }[],
): Added[] {
  if (given.length === 0) throw new GantryError("invalid", "no signature was given");
  if (given.length > MOST_ADDED) {
    throw new GantryError("invalid", `more than ${MOST_ADDED} signatures were given at once`);
  }
  return given.map(({ Digest, Payload, Signature }) => {
    if (!isDigest(Digest)) throw new GantryError("invalid", `invalid digest ${JSON.stringify(Digest.slice(0, 200))}`);
    const payload = decodeBase64(Payload, 2 * MOST_PAYLOAD);
    const signature = decodeBase64(Signature);
    if (payload === undefined || signature === undefined) {
      throw new GantryError("invalid", `invalid signature of ${Digest}: payload and signature must be base64`);
    }
    const claim = readPayload(payload);
    if (claim === undefined) throw new GantryError("invalid", `invalid signature of ${Digest}: its payload is none`);
    if (claim.digest !== Digest) {
      throw new GantryError("invalid", `invalid signature of ${Digest}: its payload is of ${claim.digest}`);
    }
    return { digest: Digest, payload, signature };
  });
}

async function putSignatures(
  registries: Registries,
  reference: Reference,
  credentials: Credentials,
  added: readonly Added[],
  waiting: Waiting,
): Promise<SignaturesPutResponse> {
  const byDigest = Map.groupBy(added, ({ digest }) => digest);
  return registries.writing(reference, credentials, {}, async (repository) => {
    const target = attachmentTarget(repository, waiting);
    const attached: SignaturesPutResponse["Attached"] = [];
    for (const [digest, signatures] of byDigest) {
      await insistOnManifest(repository, reference, digest, waiting);
      attached.push({
        Digest: digest,
        SignatureManifest: await attachSignatures(target, digest, signatures, waiting.signal),
      });
    }
    return { Attached: attached };
  });
}

async function insistOnManifest(
  repository: Repository,
  { domain, path }: Reference,
  digest: string,
  waiting: Waiting,
): Promise<void> {
  try {
    await repository.resolve(digest, waiting);
  } catch (error) {
    if (!isKind(error, "not-found")) throw error;
    const name = familiarString({ domain, path, digest });
    throw new GantryError("not-found", `cannot sign ${name}: the registry has no such manifest`);
  }
}

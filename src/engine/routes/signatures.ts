import { decodeJson } from "../../api/decode.ts";
import {
  type ImageSignatures,
  type SignaturePut,
  type SignaturesPutResponse,
  type SignedManifest,
  signaturesPutRequest,
} from "../../api/signature.ts";
import { allOrFirst } from "../../base/all-or-first.ts";
import { atOnce } from "../../base/at-once.ts";
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
import { type AttachmentTarget, attachSignatures, attachStatement } from "../../trust/attach.ts";
import { allSignatures } from "../../trust/attached.ts";
import { MOST_PAYLOAD, readPayload } from "../../trust/payload.ts";
import { decodeBase64 } from "../../trust/signature-manifest.ts";
import { readStatement } from "../../trust/statement.ts";
import { json } from "../answer.ts";
import { attachmentSource, attachmentTarget } from "../attachments.ts";
import type { Handlers } from "../route-request.ts";

type SignatureRoutes = Pick<Handlers, "signatureList" | "signaturePut">;

/** Images of an index that are looked at one by one. */
const MOST_IMAGES = 128;
const AT_ONCE = 4;
/** Bytes of payloads and signatures in one answer: those of real ones have some hundred each. */
const MOST_SHOWN = 16 << 20;
const MOST_ADDED = 4 * MOST_IMAGES;
const MOST_HINT = 256;

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
  const source = attachmentSource(repository, waiting);
  let left = MOST_SHOWN;
  await atOnce(AT_ONCE, all.entries(), async ([at, { digest, mediaType, platform }]) => {
    const { signatures, problem } = await allSignatures(source, digest);
    const shown = signatures.filter(({ payload, signature }) => {
      left -= payload.length + signature.length;
      return left >= 0;
    });
    const isCut = shown.length < signatures.length;
    found[at] = {
      Digest: digest,
      MediaType: mediaType,
      Platform: platform == null ? "" : formatPlatform(platform),
      Signatures: shown.map(({ form, payload, signature }) => ({
        Form: form,
        Payload: Buffer.from(payload).toString("base64"),
        Signature: Buffer.from(signature).toString("base64"),
      })),
      Problem: isCut ? `only ${shown.length} of its ${signatures.length} signatures were read` : (problem ?? ""),
    };
  });
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
  readonly form: "simple" | "statement";
  readonly hint: string;
  readonly payload: Buffer;
  readonly signature: Buffer;
}

/** Refuses what no reader would take, so that nobody's slip lies in a registry for ever. */
function checked(given: readonly SignaturePut[]): Added[] {
  if (given.length === 0) throw new GantryError("invalid", "no signature was given");
  if (given.length > MOST_ADDED) {
    throw new GantryError("invalid", `more than ${MOST_ADDED} signatures were given at once`);
  }
  return given.map(({ Digest, Form, Hint, Payload, Signature }) => {
    if (!isDigest(Digest)) throw new GantryError("invalid", `invalid digest ${JSON.stringify(Digest.slice(0, 200))}`);
    const refuse = (why: string): never => {
      throw new GantryError("invalid", `invalid signature of ${Digest}: ${why}`);
    };
    const form = Form === "" ? "simple" : Form;
    if (form !== "simple" && form !== "statement") return refuse("its form must be simple or statement");
    if (Hint.length > MOST_HINT) return refuse("its hint is too long");
    const payload = decodeBase64(Payload, 2 * MOST_PAYLOAD);
    const signature = decodeBase64(Signature);
    if (payload === undefined || signature === undefined) return refuse("payload and signature must be base64");
    const digests = form === "simple" ? simpleDigests(payload) : statementDigests(payload);
    if (digests.length === 0) return refuse("its payload is none");
    if (!digests.includes(Digest)) return refuse(`its payload is of ${digests[0]}`);
    return { digest: Digest, form, hint: Hint, payload, signature };
  });
}

function simpleDigests(payload: Buffer): string[] {
  const claim = readPayload(payload);
  return claim === undefined ? [] : [claim.digest];
}

function statementDigests(payload: Buffer): string[] {
  const statement = readStatement(payload);
  return statement?.kind === "signature" ? statement.claims.map(({ digest }) => digest) : [];
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
    const attached = new Map<string, string[]>();
    const put = async ([digest, signatures]: readonly [string, readonly Added[]]) => {
      const subject = await insistOnManifest(repository, reference, digest, waiting);
      attached.set(digest, await attach(target, subject, signatures, waiting.signal));
    };
    // The last comes last: who signs an index with its images signs the index when these are.
    const rows = [...byDigest];
    const last = rows.pop();
    await atOnce(AT_ONCE, rows, put);
    if (last !== undefined) await put(last);
    const list = [...byDigest.keys()].flatMap((Digest) =>
      (attached.get(Digest) ?? []).map((SignatureManifest) => ({ Digest, SignatureManifest })),
    );
    return { Attached: list };
  });
}

/** Both forms at once: each waits a little to see that what it wrote lasts. */
async function attach(
  target: AttachmentTarget,
  subject: Descriptor,
  added: readonly Added[],
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const simple = added.filter(({ form }) => form === "simple");
  const statements = added.filter(({ form }) => form === "statement");
  const attachStatements = async () => {
    const manifests: string[] = [];
    for (const statement of statements) manifests.push(await attachStatement(target, subject, statement));
    return manifests;
  };
  const attachSimple = async () =>
    simple.length === 0 ? [] : [await attachSignatures(target, subject.digest, simple, signal)];
  return (await allOrFirst([attachSimple(), attachStatements()])).flat();
}

async function insistOnManifest(
  repository: Repository,
  { domain, path }: Reference,
  digest: string,
  waiting: Waiting,
): Promise<Descriptor> {
  try {
    return await repository.resolve(digest, waiting);
  } catch (error) {
    if (!isKind(error, "not-found")) throw error;
    const name = familiarString({ domain, path, digest });
    throw new GantryError("not-found", `cannot sign ${name}: the registry has no such manifest`);
  }
}

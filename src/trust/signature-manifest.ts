import { sha256Of } from "../oci/digest.ts";
import { parseDigest } from "../oci/digest-format.ts";
import { type Descriptor, type Manifest, MEDIA_TYPE } from "../oci/image.ts";
import { describe } from "../oci/image-config.ts";
import { BUNDLE_TYPE, isBundleType, MOST_BUNDLE, makeBundle } from "./bundle.ts";
import { MOST_PAYLOAD } from "./payload.ts";
import { SIGN_PREDICATE } from "./statement.ts";

/** cosign's names (SIGNATURE_SPEC.md). */
export const PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
export const SIGNATURE_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json";
/** The type of an empty config. Lists that cosign keeps at tags have it in the place of the artifact's own. */
const EMPTY_TYPE = "application/vnd.oci.empty.v1+json";
const PREDICATE_KEY = "dev.sigstore.bundle.predicateType";
const SIGNATURE_KEY = "dev.cosignproject.cosign/signature";

/** As many signatures of one manifest are looked at. */
export const MOST_SIGNATURES = 1000;
/** The longest signature, in base64: that of an RSA key of 16384 bits has 2732 characters. */
const MOST_SIGNATURE_TEXT = 4096;

/** A row of a signature manifest: where the payload lies, and the signature over it. */
export interface SignatureRow {
  readonly payload: Descriptor;
  readonly signature: Buffer;
}

/** The tag beside an image's own ones that its signatures lie at. */
export function signatureTag(digest: string): string {
  const { algorithm, hex } = parseDigest(digest);
  return `${algorithm}-${hex}.sig`;
}

/** The signatures that a manifest names; rows that are none are passed over. */
export function signatureRows(manifest: Manifest): SignatureRow[] {
  return manifest.layers.flatMap((payload) => {
    const text = payload.annotations?.[SIGNATURE_KEY];
    if (payload.mediaType !== PAYLOAD_TYPE || payload.size > MOST_PAYLOAD || text === undefined) return [];
    const signature = decodeBase64(text);
    return signature === undefined ? [] : [{ payload: bare(payload), signature }];
  });
}

/** Where the bundles of a manifest lie that carries them. */
export function bundleRows(manifest: Manifest): Descriptor[] {
  return manifest.layers.filter(({ mediaType, size }) => isBundleType(mediaType) && size <= MOST_BUNDLE).map(bare);
}

/** Without what else a manifest says of it. */
function bare({ digest, mediaType, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

/** Whether something that refers to a manifest may have a signature of it, by what a list says of it. */
export function mayBeSignature({ artifactType }: Descriptor): boolean {
  if (artifactType === undefined || artifactType === "" || artifactType === EMPTY_TYPE) return true;
  return artifactType === SIGNATURE_ARTIFACT || isBundleType(artifactType);
}

/** Whether a list calls it an attestation of something else. Nobody signed that: it only says what to look at last. */
export function isCalledAttestation({ annotations }: Descriptor): boolean {
  return (annotations?.[PREDICATE_KEY] ?? SIGN_PREDICATE) !== SIGN_PREDICATE;
}

/** A document with its bytes, to be put where its descriptor is named. */
export interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

/** A signature manifest as it is to be put, after its config and the payloads. */
export interface WrittenSignatures {
  readonly config: Document;
  readonly payloads: readonly Document[];
  readonly manifest: Document;
  /** The rows that it has more than before. */
  readonly added: ReadonlySet<Descriptor>;
}

/**
 * A signature manifest with these added to it; `before` is the one that is there. Undefined if it has them all already.
 * What the others who signed put there stays.
 */
export function withSignatures(
  before: Manifest | undefined,
  added: readonly { readonly payload: Uint8Array; readonly signature: Uint8Array }[],
): WrittenSignatures | undefined {
  const all = added.map(({ payload, signature }) => {
    const text = Buffer.from(signature).toString("base64");
    const row = { ...describe(PAYLOAD_TYPE, payload), annotations: { [SIGNATURE_KEY]: text } };
    return { row, payload: { descriptor: describe(PAYLOAD_TYPE, payload), bytes: Buffer.from(payload) } };
  });
  const written = withRows(
    before,
    all.map(({ row }) => row),
  );
  return (
    written && { ...written, payloads: all.flatMap(({ payload, row }) => (written.added.has(row) ? payload : [])) }
  );
}

/** The same with the rows of another signature manifest, whatever they are: their payloads are there. */
export function withRows(before: Manifest | undefined, rows: readonly Descriptor[]): WrittenSignatures | undefined {
  const layers = [...(before?.layers ?? [])];
  const added = new Set<Descriptor>();
  for (const row of rows) {
    const signature = row.annotations?.[SIGNATURE_KEY];
    if (layers.some((one) => one.digest === row.digest && one.annotations?.[SIGNATURE_KEY] === signature)) continue;
    layers.push(row);
    added.add(row);
  }
  if (added.size === 0) return undefined;
  const config = configOf(layers, before?.config.mediaType ?? MEDIA_TYPE.ociConfig);
  const mediaType = before?.mediaType ?? MEDIA_TYPE.ociManifest;
  const bytes = Buffer.from(
    JSON.stringify({ ...before, schemaVersion: 2, mediaType, config: config.descriptor, layers }),
  );
  return { config, payloads: [], added, manifest: { descriptor: describe(mediaType, bytes), bytes } };
}

/** A statement with the signature over it, as a manifest that names the signed one its subject. */
export function bundleManifest(
  subject: Descriptor,
  signed: { readonly payload: Uint8Array; readonly signature: Uint8Array; readonly hint: string },
): { readonly documents: readonly Document[]; readonly manifest: Document; readonly entry: Descriptor } {
  const empty = Buffer.from("{}");
  const config = { descriptor: describe(EMPTY_TYPE, empty), bytes: empty };
  const bytes = makeBundle(signed.payload, signed.signature, signed.hint);
  const bundle = { descriptor: describe(BUNDLE_TYPE, bytes), bytes };
  const { digest, mediaType, size } = subject;
  const annotations = { "dev.sigstore.bundle.content": "dsse-envelope", [PREDICATE_KEY]: SIGN_PREDICATE };
  const document: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    artifactType: BUNDLE_TYPE,
    config: config.descriptor,
    layers: [bundle.descriptor],
    subject: { mediaType, digest, size },
    annotations,
  };
  const text = Buffer.from(JSON.stringify(document));
  const descriptor = describe(MEDIA_TYPE.ociManifest, text);
  return {
    documents: [config, bundle],
    manifest: { descriptor, bytes: text },
    entry: { ...descriptor, artifactType: BUNDLE_TYPE, annotations },
  };
}

/** To registries that look into configs, signatures are images of no platform; the tools write them the same. */
function configOf(layers: readonly Descriptor[], mediaType: string): Document {
  const bytes = Buffer.from(
    JSON.stringify({
      architecture: "",
      created: "0001-01-01T00:00:00Z",
      history: layers.map(() => ({ created: "0001-01-01T00:00:00Z" })),
      os: "",
      rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
      config: {},
    }),
  );
  return { descriptor: { mediaType, digest: sha256Of(bytes), size: bytes.length }, bytes };
}

/** Base64 as it is written by the standard, and nothing else that a lenient reader makes bytes of. */
export function decodeBase64(text: string, most = MOST_SIGNATURE_TEXT): Buffer | undefined {
  if (text.length > most || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  return Buffer.from(text, "base64");
}

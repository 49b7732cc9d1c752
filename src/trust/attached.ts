import { createHash } from "node:crypto";
import { atOnce } from "../base/at-once.ts";
import { Breath } from "../base/breath.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { sha256Of } from "../oci/digest.ts";
import type { Descriptor, Manifest } from "../oci/image.ts";
import { type Bundle, readBundle } from "./bundle.ts";
import { MOST_PAYLOAD } from "./payload.ts";
import type { FoundSignature } from "./signature.ts";
import {
  bundleRows,
  isCalledAttestation,
  MOST_SIGNATURES,
  mayBeSignature,
  type SignatureRow,
  signatureRows,
  signatureTag,
} from "./signature-manifest.ts";

/** What signatures are read from: one repository of a registry. */
export interface AttachmentSource {
  /** The manifest of a tag or digest, and its digest; undefined where there is none. */
  manifest(tagOrDigest: string): Promise<{ readonly digest: string; readonly manifest: Manifest } | undefined>;
  /** The bytes of a manifest or an index. */
  bytes(digest: string): Promise<Uint8Array>;
  /** A small blob, checked against its digest. */
  document(descriptor: Descriptor): Promise<Uint8Array>;
  /** Manifests that say they belong to this one. */
  referrers(digest: string): Promise<readonly Descriptor[]>;
}

export interface FoundSignatures {
  readonly signatures: readonly FoundSignature[];
  /** Why not all that may be there was read. */
  readonly problem?: string | undefined;
}

/** As many manifests that refer to one are looked at. */
export const MOST_REFERRERS = 64;
const MOST_PAYLOADS = 256;
const AT_ONCE = 8;

/** The signatures at a manifest's own tag, where podman, skopeo and cosign before its third version put them. */
export async function signaturesByTag(source: AttachmentSource, digest: string): Promise<FoundSignatures> {
  return readable(async () => {
    const found = await source.manifest(signatureTag(digest));
    return found === undefined ? { signatures: [] } : readSimple(source, digest, signatureRows(found.manifest));
  });
}

/** The signatures that name the manifest as their subject, as cosign writes them since its third version. */
export async function signaturesByReferrers(source: AttachmentSource, digest: string): Promise<FoundSignatures> {
  const all = await source.referrers(digest);
  const possible = all.filter(mayBeSignature);
  const [attested, named] = [possible.filter(isCalledAttestation), possible.filter((one) => !isCalledAttestation(one))];
  const taken = [...named, ...attested].slice(0, MOST_REFERRERS);
  // Of each manifest only that is kept: they may have megabytes of other things.
  const rows: SignatureRow[] = [];
  let count = 0;
  const bundles: Descriptor[] = [];
  let unread: string | undefined;
  await atOnce(AT_ONCE, taken, async (descriptor) => {
    const { problem } = await readable(async () => {
      const found = await source.manifest(descriptor.digest);
      if (found === undefined) return { signatures: [] };
      const own = signatureRows(found.manifest);
      count += own.length;
      rows.push(...own.slice(0, MOST_SIGNATURES - rows.length));
      bundles.push(...bundleRows(found.manifest).slice(0, MOST_REFERRERS - bundles.length));
      return { signatures: [] };
    });
    unread ??= problem;
  });
  const simple = await readSimple(source, digest, rows, count);
  const bundled = await readBundles(source, digest, bundles);
  const isCut = possible.length > taken.length;
  return {
    signatures: [...simple.signatures, ...bundled.signatures],
    problem: isCut
      ? `only ${MOST_REFERRERS} of its ${possible.length} referrers were read`
      : (simple.problem ?? bundled.problem ?? unread),
  };
}

/** Both kinds, each signature once. */
export async function allSignatures(source: AttachmentSource, digest: string): Promise<FoundSignatures> {
  const byTag = await signaturesByTag(source, digest);
  const byReferrers = await signaturesByReferrers(source, digest);
  const breath = new Breath();
  // Many signers of one image sign the same bytes.
  const digests = new Map<Uint8Array, string>();
  const all = new Map<string, FoundSignature>();
  for (const one of [...byTag.signatures, ...byReferrers.signatures]) {
    if (breath.isDue) await breath.take();
    const payload = digests.get(one.payload) ?? sha256Of(one.payload);
    digests.set(one.payload, payload);
    all.set(`${one.form} ${payload} ${sha256Of(one.signature)}`, one);
  }
  return { signatures: [...all.values()], problem: byTag.problem ?? byReferrers.problem };
}

/** What is no signature manifest is one without signatures; a registry that can't be asked is another matter. */
async function readable(act: () => Promise<FoundSignatures>): Promise<FoundSignatures> {
  try {
    return await act();
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { signatures: [], problem: `what lies in the place of its signatures can't be read: ${messageOf(error)}` };
  }
}

/** What was fetched is not what it should be; what couldn't be fetched is none of this. */
function isDamage(error: unknown): boolean {
  return error instanceof GantryError && ["invalid", "unsupported", "not-found"].includes(error.kind);
}

/**
 * Fetches the payloads of simple signatures, of which `count` are there. Those of many signers of one image are often
 * the same bytes, which are fetched once; a payload that can't be had takes only its own signatures away.
 */
async function readSimple(
  source: AttachmentSource,
  digest: string,
  rows: readonly SignatureRow[],
  count = rows.length,
): Promise<FoundSignatures> {
  const taken = rows.slice(0, MOST_SIGNATURES);
  const byPayload = Map.groupBy(taken, ({ payload }) => payload.digest);
  const groups = [...byPayload.values()];
  const signatures: FoundSignature[] = [];
  let problem: string | undefined;
  if (count > taken.length) problem = `only ${taken.length} of its ${count} signatures were read`;
  if (groups.length > MOST_PAYLOADS) problem = `only ${MOST_PAYLOADS} of ${groups.length} different payloads were read`;
  await atOnce(AT_ONCE, groups.slice(0, MOST_PAYLOADS), async (group) => {
    const payload = await fetchDocument(source, group[0]?.payload, "payload");
    if (payload instanceof Uint8Array) {
      for (const { signature } of group) signatures.push({ digest, form: "simple", payload, signature });
    } else problem ??= payload;
  });
  return { signatures, problem };
}

/** Fetches bundles and takes them apart; one that can't be read takes nothing else away. */
async function readBundles(
  source: AttachmentSource,
  digest: string,
  rows: readonly Descriptor[],
): Promise<FoundSignatures> {
  const signatures: FoundSignature[] = [];
  let problem: string | undefined;
  await atOnce(AT_ONCE, rows, async (row) => {
    const bytes = await fetchDocument(source, row, "bundle");
    try {
      if (bytes instanceof Uint8Array) signatures.push(...(await signaturesOf(source, digest, readBundle(bytes))));
      else problem ??= bytes;
    } catch (error) {
      if (error instanceof GantryError) throw error;
      problem ??= `a bundle can't be read: ${messageOf(error)}`;
    }
  });
  return { signatures, problem };
}

async function signaturesOf(source: AttachmentSource, digest: string, bundle: Bundle): Promise<FoundSignature[]> {
  const payload = new Uint8Array();
  if (bundle.signer === "certificate") return [{ digest, form: "certificate", payload, signature: payload }];
  if (bundle.kind === "statement") {
    return bundle.signatures.map((signature) => ({ digest, form: "statement", payload: bundle.payload, signature }));
  }
  const { signature } = bundle;
  const [algorithm = ""] = bundle.digest.split(":");
  const bytes = await source.bytes(digest);
  if (bytes.length > MOST_PAYLOAD) throw new Error(`it signs a manifest of more than ${MOST_PAYLOAD} bytes`);
  // What is signed is something else: what that is need not be known.
  const isThis = `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}` === bundle.digest;
  return [{ digest, form: "manifest", payload: isThis ? bytes : payload, signature }];
}

/** The document's bytes, or why there are none. */
async function fetchDocument(
  source: AttachmentSource,
  descriptor: Descriptor | undefined,
  what: string,
): Promise<Uint8Array | string | undefined> {
  if (descriptor === undefined) return undefined;
  try {
    return await source.document(descriptor);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return `a ${what} can't be read: ${messageOf(error)}`;
  }
}

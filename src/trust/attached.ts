import { setTimeout as after } from "node:timers/promises";
import { cancelled } from "../base/abort.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { sha256Of } from "../oci/digest.ts";
import type { Descriptor, Manifest } from "../oci/image.ts";
import type { FoundSignature } from "./signature.ts";
import {
  type Document,
  MOST_SIGNATURES,
  SIGNATURE_ARTIFACT,
  type SignatureRow,
  signatureRows,
  signatureTag,
  withSignatures,
} from "./signature-manifest.ts";

/** What signatures are read from: one repository of a registry. */
export interface AttachmentSource {
  /** The manifest of a tag or digest, and its digest; undefined where there is none. */
  manifest(tagOrDigest: string): Promise<{ readonly digest: string; readonly manifest: Manifest } | undefined>;
  /** A small blob, checked against its digest. */
  document(descriptor: Descriptor): Promise<Uint8Array>;
  /** Manifests that say they belong to this one. */
  referrers(digest: string, artifactType: string): Promise<readonly Descriptor[]>;
}

/** What signatures are put to. */
export interface AttachmentTarget extends AttachmentSource {
  putDocument(document: Document): Promise<void>;
  putManifest(tag: string, document: Document): Promise<void>;
}

export interface FoundSignatures {
  readonly signatures: readonly FoundSignature[];
  /** Why not all that may be there was read. */
  readonly problem?: string | undefined;
}

const MOST_REFERRERS = 32;
const MOST_PAYLOADS = 256;
const AT_ONCE = 8;

/** The signatures at a manifest's own tag, where cosign, podman and skopeo put them. */
export async function signaturesByTag(source: AttachmentSource, digest: string): Promise<FoundSignatures> {
  return readable(async () => {
    const found = await source.manifest(signatureTag(digest));
    return found === undefined ? { signatures: [] } : read(source, digest, [found.manifest]);
  });
}

/** The signatures that name the manifest as their subject, as cosign writes them to registries of OCI 1.1. */
export async function signaturesByReferrers(source: AttachmentSource, digest: string): Promise<FoundSignatures> {
  const all = await source.referrers(digest, SIGNATURE_ARTIFACT);
  // A registry, and the fallback tag, may list more than what was asked for.
  const named = all.filter(({ artifactType }) => artifactType === undefined || artifactType === SIGNATURE_ARTIFACT);
  const manifests: Manifest[] = [];
  let unread: string | undefined;
  for (const descriptor of named.slice(0, MOST_REFERRERS)) {
    const { problem } = await readable(async () => {
      const found = await source.manifest(descriptor.digest);
      if (found !== undefined) manifests.push(found.manifest);
      return { signatures: [] };
    });
    unread ??= problem;
  }
  const { signatures, problem = unread } = await read(source, digest, manifests);
  const isCut = named.length > MOST_REFERRERS;
  return { signatures, problem: isCut ? `only ${MOST_REFERRERS} of its ${named.length} referrers were read` : problem };
}

/** Both kinds, each signature once. */
export async function allSignatures(source: AttachmentSource, digest: string): Promise<FoundSignatures> {
  const byTag = await signaturesByTag(source, digest);
  const byReferrers = await signaturesByReferrers(source, digest);
  const keyOf = ({ payload, signature }: FoundSignature) => `${sha256Of(payload)} ${sha256Of(signature)}`;
  const all = new Map([...byTag.signatures, ...byReferrers.signatures].map((one) => [keyOf(one), one]));
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
 * Fetches the payloads. Those of many signers of one image are often the same bytes, which are fetched once; a payload
 * that can't be had takes only its own signatures away.
 */
async function read(
  source: AttachmentSource,
  digest: string,
  manifests: readonly Manifest[],
): Promise<FoundSignatures> {
  const rows = manifests.flatMap(signatureRows);
  const taken = rows.slice(0, MOST_SIGNATURES);
  const byPayload = Map.groupBy(taken, ({ payload }) => payload.digest);
  const groups = [...byPayload.values()];
  const signatures: FoundSignature[] = [];
  let problem: string | undefined;
  if (rows.length > taken.length) problem = `only ${taken.length} of its ${rows.length} signatures were read`;
  if (groups.length > MOST_PAYLOADS) problem = `only ${MOST_PAYLOADS} of ${groups.length} different payloads were read`;
  const queue = groups.slice(0, MOST_PAYLOADS).values();
  const worker = async () => {
    for (const group of queue) {
      const payload = await fetchPayload(source, group);
      if (payload instanceof Uint8Array) {
        for (const { signature } of group) signatures.push({ digest, payload, signature });
      } else problem ??= payload;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return { signatures, problem };
}

/** The payload's bytes, or why there are none. */
async function fetchPayload(
  source: AttachmentSource,
  group: readonly SignatureRow[],
): Promise<Uint8Array | string | undefined> {
  const [row] = group;
  if (row === undefined) return undefined;
  try {
    return await source.document(row.payload);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return `a payload can't be read: ${messageOf(error)}`;
  }
}

const TRIES = 8;
const PAUSE_MS = 150;

/**
 * Adds signatures of one manifest to those at its tag. Registries have no "write if nobody wrote": it looks right
 * before it writes, looks again a little later, and begins anew where another signer's writing has taken its own away.
 * Resolves with the digest of the signature manifest. Throws `conflict` if it never got through.
 */
export async function attachSignatures(
  target: AttachmentTarget,
  digest: string,
  added: readonly { readonly payload: Uint8Array; readonly signature: Uint8Array }[],
  signal?: AbortSignal,
): Promise<string> {
  const tag = signatureTag(digest);
  for (let tries = 0; ; tries++) {
    const before = await target.manifest(tag);
    if ((before?.manifest.layers.length ?? 0) + added.length > MOST_SIGNATURES) {
      throw new GantryError(
        "conflict",
        `cannot sign ${digest}: it has ${MOST_SIGNATURES} signatures, no more are read`,
      );
    }
    const wanted = withSignatures(before?.manifest, added);
    // Written by the round before this one, or there already.
    if (wanted === undefined) return before?.digest ?? "";
    if (tries === TRIES) {
      throw new GantryError("conflict", `cannot sign ${digest}: other signers wrote its signatures at every try`);
    }
    for (const document of [...wanted.payloads, wanted.config]) await target.putDocument(document);
    if ((await target.manifest(tag))?.digest !== before?.digest) continue;
    await target.putManifest(tag, wanted.manifest);
    // Who read before this was written writes within this time; two who wait for each other must not do so in step.
    await pause(PAUSE_MS * (1 + Math.random()), signal);
  }
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await after(milliseconds, undefined, signal === undefined ? {} : { signal });
  } catch {
    throw cancelled();
  }
}

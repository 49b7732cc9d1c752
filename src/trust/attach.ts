import { GantryError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import type { Descriptor, Manifest } from "../oci/image.ts";
import { type AttachmentSource, MOST_REFERRERS } from "./attached.ts";
import {
  bundleManifest,
  type Document,
  isCalledAttestation,
  MOST_SIGNATURES,
  mayBeSignature,
  signatureTag,
  type WrittenSignatures,
  withRows,
  withSignatures,
} from "./signature-manifest.ts";

const TRIES = 8;
const PAUSE_MS = 150;

/** What signatures are put to. */
export interface AttachmentTarget extends AttachmentSource {
  putDocument(document: Document): Promise<void>;
  putManifest(tag: string, document: Document): Promise<void>;
  /** Puts a manifest that names its subject, and sees to it that the subject's referrers have this entry. */
  putReferrer(subject: string, document: Document, entry: Descriptor): Promise<void>;
}

/**
 * Puts a statement with the signature over it beside those that refer to the manifest. Resolves with the digest of the
 * manifest that carries it. Throws `conflict` if no more are read, or other signers were faster at every try.
 */
export async function attachStatement(
  target: AttachmentTarget,
  subject: Descriptor,
  signed: { readonly payload: Uint8Array; readonly signature: Uint8Array; readonly hint: string },
): Promise<string> {
  const there = (await target.referrers(subject.digest)).filter(mayBeSignature);
  if (there.filter((one) => !isCalledAttestation(one)).length >= MOST_REFERRERS) {
    throw new GantryError(
      "conflict",
      `cannot sign ${subject.digest}: it has ${MOST_REFERRERS} signatures that refer to it, no more are read`,
    );
  }
  const { documents, entry, manifest } = bundleManifest(subject, signed);
  for (const document of documents) await target.putDocument(document);
  await target.putReferrer(subject.digest, manifest, entry);
  return manifest.descriptor.digest;
}

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
  return writeSignatures(target, digest, (before) => withSignatures(before, added), signal);
}

/** The same with the signatures that lie beside a copy of the manifest elsewhere, whose payloads were brought here. */
export async function joinSignatures(
  target: AttachmentTarget,
  digest: string,
  { layers }: Manifest,
  signal?: AbortSignal,
): Promise<string> {
  return writeSignatures(target, digest, (before) => withRows(before, layers), signal);
}

async function writeSignatures(
  target: AttachmentTarget,
  digest: string,
  withAdded: (before: Manifest | undefined) => WrittenSignatures | undefined,
  signal: AbortSignal | undefined,
): Promise<string> {
  const tag = signatureTag(digest);
  for (let tries = 0; ; tries++) {
    const before = await target.manifest(tag);
    const wanted = withAdded(before?.manifest);
    // Written by the round before this one, or there already.
    if (wanted === undefined) return before?.digest ?? "";
    if ((before?.manifest.layers.length ?? 0) + wanted.added.size > MOST_SIGNATURES) {
      throw new GantryError(
        "conflict",
        `cannot sign ${digest}: it has ${MOST_SIGNATURES} signatures, no more are read`,
      );
    }
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

import type { AttachedSignature, ImageSignatures, SignaturesPutResponse, SignedManifest } from "../../api/signature.ts";
import { GantryError } from "../../base/errors.ts";
import { isDigest } from "../../oci/digest-format.ts";
import { formatReference, isIdentifier, type Reference, tagNameOnly } from "../../oci/reference.ts";
import { MOST_PAYLOAD } from "../../trust/payload.ts";
import type { FoundSignature } from "../../trust/signature.ts";
import { decodeBase64 } from "../../trust/signature-manifest.ts";
import type { Call } from "../command.ts";
import { registryAuth } from "../credentials/headers.ts";
import { registryReference } from "../run/registry-name.ts";

const NOTHING = new Uint8Array();

/** A name of an image at a registry as the engine understands it, `latest` filled in; an image's id is none. */
export async function registryName(call: Call, text: string): Promise<Reference> {
  if (isIdentifier(text) || isDigest(text)) {
    throw new GantryError(
      "invalid",
      `${text} is an image's id: signatures lie in registries, so name the image as it was pushed`,
    );
  }
  return tagNameOnly(await registryReference(call.client, text));
}

/** What a name points to at its registry and the signatures there, by way of the engine. */
export async function fetchSignatures(
  call: Call,
  reference: Reference,
  options: { readonly isRecursive: boolean },
): Promise<readonly SignedManifest[]> {
  const { Manifests } = await call.client.json<ImageSignatures>("GET", pathOf(reference), {
    query: { recursive: options.isRecursive },
    headers: await registryAuth(call, reference.domain),
  });
  const [first] = Manifests;
  // The engine is trusted to fetch, not to choose what is signed or verified by digest.
  if (first === undefined || (reference.digest !== undefined && first.Digest !== reference.digest)) {
    throw new GantryError(
      "internal",
      `the engine answered for ${first?.Digest ?? "nothing"} when asked for ${formatReference(reference)}`,
    );
  }
  for (const { Digest } of Manifests) {
    if (!isDigest(Digest))
      throw new GantryError("internal", `the engine answered ${JSON.stringify(Digest)} for a digest`);
  }
  return Manifests;
}

export interface MadeSignature {
  /** Of the manifest that is signed. */
  readonly digest: string;
  readonly form: "simple" | "statement";
  /** Says by which key it is, to who has several. */
  readonly hint: string;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

/** Adds signatures to those at the registry, by way of the engine. */
export async function putSignatures(
  call: Call,
  reference: Reference,
  signatures: readonly MadeSignature[],
): Promise<SignaturesPutResponse> {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  return call.client.json<SignaturesPutResponse>("PUT", pathOf(reference), {
    json: {
      Signatures: signatures.map(({ digest, form, hint, payload, signature }) => ({
        Digest: digest,
        Form: form,
        Hint: hint,
        Payload: base64(payload),
        Signature: base64(signature),
      })),
    },
    headers: await registryAuth(call, reference.domain),
  });
}

/** The signatures of a manifest as they are judged. */
export function foundSignatures({ Digest, Signatures }: SignedManifest): FoundSignature[] {
  return Signatures.flatMap(({ Form: form, Payload, Signature }: AttachedSignature): FoundSignature[] => {
    if (form === "certificate") return [{ digest: Digest, form, payload: NOTHING, signature: NOTHING }];
    const payload = decodeBase64(Payload, 2 * MOST_PAYLOAD);
    const signature = decodeBase64(Signature);
    return payload === undefined || signature === undefined ? [] : [{ digest: Digest, form, payload, signature }];
  });
}

function pathOf(reference: Reference): string {
  return `/gantry/distribution/${encodeURIComponent(formatReference(reference))}/signatures`;
}

import * as go from "./shape.ts";

/** GET /gantry/distribution/{name}/signatures: what a name points to, and the signatures of it. */
export interface ImageSignatures {
  /** The name in its normal form. */
  Name: string;
  /** What the name points to comes first; with `recursive` the images of an index follow. */
  Manifests: SignedManifest[];
}

export interface SignedManifest {
  Digest: string;
  MediaType: string;
  /** `linux/amd64`; empty where an index doesn't say. */
  Platform: string;
  Signatures: AttachedSignature[];
  /** Why not all of its signatures were read; empty if they were. */
  Problem: string;
}

/** Nothing of it was checked but that it could be read. */
export interface AttachedSignature {
  /** The bytes that were signed, in base64. */
  Payload: string;
  /** In base64. */
  Signature: string;
}

/** Body of PUT /gantry/distribution/{name}/signatures. */
export interface SignaturesPutRequest {
  Signatures: { Digest: string; Payload: string; Signature: string }[] | null;
}

export const signaturesPutRequest = go.struct<SignaturesPutRequest>("signature.PutRequest", {
  Signatures: go.list(
    go.struct<{ Digest: string; Payload: string; Signature: string }>("signature.Signature", {
      Digest: go.text,
      Payload: go.text,
      Signature: go.text,
    }),
  ),
});

/** The signature manifests that were written, or had all of it already. */
export interface SignaturesPutResponse {
  Attached: { Digest: string; SignatureManifest: string }[];
}

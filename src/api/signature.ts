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
  /**
   * What the payload is: `simple`, a simple-signing document; `statement`, an in-toto statement, signed in a DSSE
   * envelope; `manifest`, the very manifest; `certificate`, nothing, as a signature by a certificate is not read.
   */
  Form: "simple" | "statement" | "manifest" | "certificate";
  /** In base64. */
  Payload: string;
  /** In base64. */
  Signature: string;
}

/** Body of PUT /gantry/distribution/{name}/signatures. */
export interface SignaturesPutRequest {
  Signatures: SignaturePut[] | null;
}

export interface SignaturePut {
  Digest: string;
  /** `simple` or `statement`; empty is `simple`. */
  Form: string;
  /** Of a statement: what says by which key it is signed, the base64 of the SHA-256 of its DER. */
  Hint: string;
  Payload: string;
  Signature: string;
}

export const signaturesPutRequest = go.struct<SignaturesPutRequest>("signature.PutRequest", {
  Signatures: go.list(
    go.struct<SignaturePut>("signature.Signature", {
      Digest: go.text,
      Form: go.text,
      Hint: go.text,
      Payload: go.text,
      Signature: go.text,
    }),
  ),
});

/** The manifests that were written, or had all of it already; of simple signatures one for each digest. */
export interface SignaturesPutResponse {
  Attached: { Digest: string; SignatureManifest: string }[];
}

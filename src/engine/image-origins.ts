import { formatReference, parseNormalized, type Reference } from "../oci/reference.ts";
import type { Collection, Store } from "../state/store.ts";
import type { FoundSignature, SignatureForm } from "../trust/signature.ts";

/** A name at a registry that an image was pulled by. */
export interface Origin {
  readonly reference: Reference;
  /** Of the image's manifest, and of the index that it was chosen from. */
  readonly digests: readonly string[];
  /** What was attached to them; nothing where no policy asked for it. */
  readonly signatures: readonly FoundSignature[];
}

interface OriginRecord {
  readonly name: string;
  readonly digests: readonly string[];
  readonly signatures: readonly SignatureRecord[];
}

/** Payload and signature in base64. */
interface SignatureRecord {
  readonly digest: string;
  /** Absent for `simple`. */
  readonly form?: SignatureForm;
  readonly payload: string;
  readonly signature: string;
}

const MOST_ORIGINS = 16;
const MOST_SIGNATURES = 64;
const MOST_BYTES = 256 << 10;

/** Where images came from, kept under their ids for as long as they have records. */
export class ImageOrigins {
  readonly #records: Collection<{ readonly origins: readonly OriginRecord[] }>;

  constructor(store: Store) {
    this.#records = store.collection("image-origins");
  }

  of(id: string): Origin[] {
    return (this.#records.get(id)?.origins ?? []).map(({ name, digests, signatures }) => ({
      reference: parseNormalized(name),
      digests,
      signatures: signatures.map(({ digest, form = "simple", payload, signature }) => ({
        digest,
        form,
        payload: Buffer.from(payload, "base64"),
        signature: Buffer.from(signature, "base64"),
      })),
    }));
  }

  /** Takes the place of what was known of this name; the oldest of very many names goes. */
  put(id: string, origin: Origin): void {
    const known = this.#records.get(id)?.origins ?? [];
    const added = recordOf(origin);
    const before = known.find(({ name }) => name === added.name);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(added)) return;
    const rest = known.filter(({ name }) => name !== added.name);
    this.#records.put(id, { origins: [...rest, added].slice(-MOST_ORIGINS) });
  }

  /** Forgets images that are no more. */
  retain(exists: (id: string) => boolean): void {
    for (const { key } of this.#records.list()) if (!exists(key)) this.#records.delete(key);
  }

  delete(id: string): void {
    this.#records.delete(id);
  }
}

function recordOf({ reference, digests, signatures }: Origin): OriginRecord {
  let bytes = 0;
  const kept = signatures.slice(0, MOST_SIGNATURES).filter(({ payload, signature }) => {
    bytes += payload.length + signature.length;
    return bytes <= MOST_BYTES;
  });
  return {
    name: formatReference(reference),
    digests,
    signatures: kept.map(({ digest, form, payload, signature }) => ({
      digest,
      ...(form !== "simple" && { form }),
      payload: Buffer.from(payload).toString("base64"),
      signature: Buffer.from(signature).toString("base64"),
    })),
  };
}

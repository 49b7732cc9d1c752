import { failpoint } from "../base/failpoint.ts";
import type { Descriptor, Index } from "../oci/image.ts";
import { MAX_DOCUMENT, parseIndex } from "../oci/image-config.ts";
import type { ClaimScope } from "./claims.ts";
import { type EntryContent, entriesOf, type IndexRecord } from "./index-record.ts";
import { INDEXES } from "./manifest-kind.ts";
import type { ImageContext } from "./ports.ts";

/** An index's very bytes, and what they say. */
export interface IndexDocument {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly index: Index;
}

export interface IndexParts {
  /** Indexes inside of it that came with it; those of them that are here already need not. */
  readonly inner: readonly IndexDocument[];
  /** By their manifests' digests: what is here of the entries. */
  readonly here: ReadonlyMap<string, EntryContent>;
  /** Id of the image that is meant where none suits this machine. */
  readonly image: string;
  readonly chosen?: Readonly<Record<string, string>>;
}

/** Stores an index's documents, after what it names. The record that it resolves with is not added yet. */
export async function keepIndex(
  context: ImageContext,
  scope: ClaimScope,
  document: IndexDocument,
  { chosen, here, image, inner }: IndexParts,
): Promise<IndexRecord> {
  const { content } = context;
  for (const { bytes, descriptor } of [...inner, document]) {
    await content.writeBytes(bytes, { digest: descriptor.digest, role: "manifest" });
    scope.noteBlob(descriptor.digest);
  }
  const indexes = new Map(inner.map(({ descriptor, index }) => [descriptor.digest, index]));
  const described = new Map(inner.map(({ descriptor }) => [descriptor.digest, plain(descriptor)]));
  await findInner(context, scope, [document.index, ...indexes.values()], indexes, described);
  failpoint("images.index.stored");
  const entries = entriesOf(document.index, (digest) => indexes.get(digest));
  return {
    descriptor: plain(document.descriptor),
    inner: [...described.values()],
    entries: entries.map((entry) => ({ ...entry, ...here.get(entry.descriptor.digest) })),
    image,
    ...(chosen !== undefined && { chosen }),
  };
}

/** Documents of inner indexes that an earlier pull of another platform has brought. */
async function findInner(
  { content }: ImageContext,
  scope: ClaimScope,
  from: readonly Index[],
  indexes: Map<string, Index>,
  described: Map<string, Descriptor>,
): Promise<void> {
  const wanted = [...from];
  for (let index = wanted.pop(); index !== undefined; index = wanted.pop()) {
    for (const descriptor of index.manifests) {
      const { digest, mediaType } = descriptor;
      if (!INDEXES.has(mediaType) || indexes.has(digest) || !content.has(digest)) continue;
      scope.noteBlob(digest);
      const found = parseIndex(await content.readBlob(digest, MAX_DOCUMENT));
      indexes.set(digest, found);
      described.set(digest, plain(descriptor));
      wanted.push(found);
    }
  }
}

function plain({ digest, mediaType, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}
